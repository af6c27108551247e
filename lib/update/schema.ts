/**
 * The payload of a signed pin set, as JSON Schema 2020-12; published as `axios-ssl-pinning/schemas/pin-set.schema.json`, which a
 * test holds equal to this.
 */
export const pinSetSchema = {
  $schema: 'https://json-schema.org/draft/2020-12/schema',
  $id: 'https://unpkg.com/axios-ssl-pinning/schemas/pin-set.schema.json',
  title: 'Pin set',
  description: 'The payload of a signed pin set of axios-ssl-pinning: the pins of all hosts, for one audience, until a date.',
  type: 'object',
  required: ['version', 'issued', 'expires', 'audience', 'pins'],
  additionalProperties: false,
  properties: {
    $schema: { type: 'string', maxLength: 300 },
    version: { description: 'Only ever rising: clients accept no lower one than they have seen.', type: 'integer', minimum: 1, maximum: 9007199254740991 },
    issued: { description: 'ISO 8601 instant.', $ref: '#/$defs/instant' },
    expires: { description: 'ISO 8601 instant after which the set is not trusted any more.', $ref: '#/$defs/instant' },
    refreshMs: { description: 'How long clients wait until they look for the next set, in milliseconds (jittered by a tenth). Default 3600000.', type: 'integer', minimum: 1000, maximum: 604800000 },
    audience: { description: 'The clients that this set is for; any other refuses it.', type: 'string', minLength: 1, maxLength: 200 },
    pins: {
      description: 'Pins by host pattern: api.example.com, *.example.com, **.example.com, each also with :port.',
      type: 'object',
      minProperties: 1,
      maxProperties: 100000,
      propertyNames: { maxLength: 300 },
      additionalProperties: { $ref: '#/$defs/host' }
    },
    keys: {
      description: 'Signing keys that are trusted as well from now on: public keys, as JWK.',
      type: 'array',
      maxItems: 16,
      items: { $ref: '#/$defs/key' }
    },
    revoked: {
      description: 'What is not trusted any more: pins for as long as the newest set says so, signing keys for ever.',
      type: 'object',
      additionalProperties: false,
      properties: {
        pins: { description: 'Must not occur anywhere in the verified chain of any pinned host.', $ref: '#/$defs/pins', maxItems: 10000 },
        keys: { description: 'RFC 7638 thumbprints of signing keys.', type: 'array', maxItems: 1000, items: { type: 'string', pattern: '^[A-Za-z0-9_-]{43}$' } }
      }
    }
  },
  $defs: {
    instant: { type: 'string', maxLength: 40, pattern: '^\\d{4}-\\d{2}-\\d{2}T\\d{2}:\\d{2}(:\\d{2}(\\.\\d{1,9})?)?(Z|[+-]\\d{2}:\\d{2})$' },
    pins: { description: 'sha256/<base64> of a key, or AB:CD:… of a certificate.', type: 'array', maxItems: 1000, items: { type: 'string', maxLength: 200 } },
    host: {
      description: 'A list of pins (a fingerprint means the leaf, sha256/… any certificate of the verified chain), or by place. How strictly they are enforced (mode, trust, onExpiry) is said by each client.',
      anyOf: [
        { $ref: '#/$defs/pins', minItems: 1 },
        {
          type: 'object',
          minProperties: 1,
          additionalProperties: false,
          properties: {
            certificates: { description: "Fingerprints of the leaf's certificate.", $ref: '#/$defs/pins' },
            publicKeys: { description: "Pins of the leaf's key.", $ref: '#/$defs/pins' },
            authorities: { description: 'Issuing CAs: PEM, pin or fingerprint.', type: 'array', maxItems: 100, items: { type: 'string', maxLength: 20000 } },
            pins: { $ref: '#/$defs/pins' },
            rejected: { description: 'Must not occur in the verified chain.', $ref: '#/$defs/pins' },
            expires: { description: 'When the pins of this host expire.', $ref: '#/$defs/instant' },
            includeSubDomains: { type: 'boolean' }
          }
        }
      ]
    },
    key: {
      anyOf: [
        {
          type: 'object',
          required: ['kty', 'crv', 'x'],
          properties: { kty: { const: 'OKP' }, crv: { const: 'Ed25519' }, x: { $ref: '#/$defs/coordinate' }, kid: { type: 'string' }, alg: { type: 'string' }, use: { const: 'sig' } },
          additionalProperties: false
        },
        {
          type: 'object',
          required: ['kty', 'crv', 'x', 'y'],
          properties: { kty: { const: 'EC' }, crv: { const: 'P-256' }, x: { $ref: '#/$defs/coordinate' }, y: { $ref: '#/$defs/coordinate' }, kid: { type: 'string' }, alg: { type: 'string' }, use: { const: 'sig' } },
          additionalProperties: false
        },
        {
          type: 'object',
          required: ['kty', 'alg', 'pub'],
          properties: { kty: { const: 'AKP' }, alg: { enum: ['ML-DSA-44', 'ML-DSA-65'] }, pub: { type: 'string', maxLength: 4000 }, kid: { type: 'string' }, use: { const: 'sig' } },
          additionalProperties: false
        }
      ]
    },
    coordinate: { type: 'string', pattern: '^[A-Za-z0-9_-]{43}$' }
  }
} as const
