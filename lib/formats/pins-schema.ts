/**
 * JSON Schema (2020-12) of the pins file; published as `axios-ssl-pinning/schemas/pins.schema.json`, which a test holds
 * to this. What a schema cannot say (is this a pin, a host pattern, a date?) is checked by the same code as the options.
 */
export const pinsSchema = {
  $schema: 'https://json-schema.org/draft/2020-12/schema',
  $id: 'https://unpkg.com/axios-ssl-pinning/schemas/pins.schema.json',
  title: 'Pins file of axios-ssl-pinning',
  description: 'Whom to trust, as pinAxios(instance, { pinsFile }) and the command axios-ssl-pinning read it: JSON with comments, or YAML.',
  type: 'object',
  additionalProperties: false,
  properties: {
    $schema: { type: 'string', description: 'Where this schema is, for editors.' },
    allowedSHAFingerprints: { $ref: '#/$defs/pins', description: 'These pins, for every host that no pattern of "pins" covers.' },
    pins: {
      type: 'object',
      description: 'Pins by host pattern: "api.example.com", "*.example.com" (one label), "**.example.com" (any number, none included), each with an optional ":port". The most specific pattern wins, and only its pins count.',
      additionalProperties: { $ref: '#/$defs/policy' }
    },
    mode: { $ref: '#/$defs/mode', description: 'Default "enforce".' },
    unpinnedHosts: { enum: ['refuse', 'allow'], description: 'Hosts without pins: "refuse" (default), or "allow": PKI alone decides.' },
    requireBackupPin: { type: 'boolean', description: 'Makes a policy with a single pin an error instead of a warning. Default false.' },
    refresh: { $ref: '#/$defs/refresh' }
  },
  $defs: {
    pin: { type: 'string', description: '"AB:CD:…" (SHA-256 of a certificate) or "sha256/<base64>" (SHA-256 of a public key).' },
    pins: { type: 'array', items: { $ref: '#/$defs/pin' } },
    mode: { enum: ['enforce', 'report-only', 'off'] },
    instant: { type: 'string', description: 'An ISO instant ("2027-01-31T12:00:00Z"), or a date, which means 00:00 UTC.' },
    instants: { type: 'object', description: 'An instant for each pin.', additionalProperties: { $ref: '#/$defs/instant' } },
    policy: {
      description: 'A list of pins (a fingerprint means the leaf, "sha256/…" any certificate of the verified chain), or a policy.',
      type: ['array', 'object'],
      items: { $ref: '#/$defs/pin' },
      additionalProperties: false,
      properties: {
        certificates: { $ref: '#/$defs/pins', description: 'Fingerprints of the whole leaf certificate.' },
        publicKeys: { $ref: '#/$defs/pins', description: "Pins of the leaf's key." },
        authorities: { type: 'array', items: { type: 'string' }, description: 'An issuing CA in the verified chain: its PEM, pin or fingerprint.' },
        pins: { $ref: '#/$defs/pins', description: 'Short form, as the list.' },
        rejected: { $ref: '#/$defs/pins', description: 'Pins that must not occur anywhere in the verified chain.' },
        mode: { $ref: '#/$defs/mode' },
        expires: { $ref: '#/$defs/instant' },
        onExpiry: { enum: ['refuse', 'report-only', 'allow'], description: 'Default "refuse".' },
        trust: { enum: ['pki', 'pin-only'], description: 'Default "pki".' },
        includeSubDomains: { type: 'boolean', description: 'The pattern also covers every sub-domain. Default false.' }
      }
    },
    refresh: {
      description: 'How pins change: read and written by "axios-ssl-pinning renewal".',
      type: 'object',
      additionalProperties: false,
      properties: {
        spreadMs: { $ref: '#/$defs/duration', description: 'How long it takes until a change of this file has reached every client, in milliseconds. Default 86400000 (a day).' },
        graceMs: { $ref: '#/$defs/duration', description: 'How long a pin is kept after its key was replaced, in milliseconds. Default: spreadMs.' },
        hosts: { type: 'object', description: 'What "renewal" has noted, for each host pattern of "pins" (or "allowedSHAFingerprints").', additionalProperties: { $ref: '#/$defs/rotation' } }
      }
    },
    rotation: {
      type: 'object',
      additionalProperties: false,
      properties: {
        inUse: { $ref: '#/$defs/pin', description: 'The pin of the key that the server uses.' },
        announced: { $ref: '#/$defs/instants', description: 'When a pin was added. A pin that is not listed counts as known to every client.' },
        retired: { $ref: '#/$defs/instants', description: 'When the key of a pin was replaced.' }
      }
    },
    duration: { type: 'integer', minimum: 0, maximum: 31_536_000_000 }
  }
} as const
