import {
  X509Certificate,
  constants,
  createHash,
  generateKeyPairSync,
  randomBytes,
  sign,
  type KeyObject,
} from 'node:crypto'
import { isIP } from 'node:net'
import { der, readTlv } from './der-writer.js'
import type { StringType } from './der-writer.js'

/**
 * Grows X.509 certificates in memory, so that no key is ever committed and no fixture expires.
 *
 * It is a *writer* only, and on purpose an obedient one: it signs whatever it is told to sign, contradictions included,
 * because most of what the tests need is certificates that no honest CA would issue.
 */

export type NamedKeyKind = 'rsa' | 'rsa-pss' | 'p256' | 'p384' | 'p521' | 'ed25519' | 'ed448' | 'secp256k1' | 'brainpoolP256r1'

/** `rsa` and `rsa-pss` have 2048 bits; other sizes are spelled `{ rsa: 3072 }`. */
export type KeyKind = NamedKeyKind | { rsa: number } | { 'rsa-pss': number }

export interface KeyPair { privateKey: KeyObject, publicKey: KeyObject }

export type HashName = 'sha256' | 'sha384' | 'sha512' | 'sha1'

/** `[short name or OID, value, string type]`; a Buffer is taken as the content octets as they are. */
export type NameAttribute = readonly [type: string, value: string | Buffer, stringType?: StringType]

export type GeneralNameKind = 'dns' | 'ip' | 'uri' | 'email' | 'directory' | 'rid'

export interface Extension { oid: string, critical?: boolean, value: Buffer }

export interface CertificateOptions {
  /** The subject's common name; a unique one is made up when nothing names the subject. */
  name?: string
  /** The subject, one relative distinguished name per entry; wins over `name`. `[]` is the empty subject. */
  subject?: readonly NameAttribute[]
  /** The subject's Name as ready DER, or copied byte for byte from another certificate. */
  rawSubject?: Buffer
  subjectNameOf?: IssuedCertificate
  /**
   * Subject alternative names: `api.test`, `127.0.0.1`, `::1`, `uri:https://…`, `email:…`, `dns:…`.
   * Undefined gives an end entity the names of the local host; `null` or `[]` leaves the extension out.
   */
  names?: readonly string[] | null
  /** The complete GeneralNames SEQUENCE, see `generalNames()`; wins over `names`. */
  rawSan?: Buffer
  /** Default `p256`. Pass a pair to certify the same key again. */
  key?: KeyKind | KeyPair
  notBefore?: Date
  notAfter?: Date
  /** The CA flag of basicConstraints, when it should contradict the role. */
  ca?: boolean
  /** `false` leaves the extension out. */
  basicConstraints?: false
  pathLength?: number
  /** `example.com`, `.example.com`, `10.0.0.0/8`, `fd00::/8`, or prefixed as in `names`. */
  nameConstraints?: { permitted?: readonly string[], excluded?: readonly string[], critical?: boolean }
  /** Names or OIDs; `null` leaves it out. An end entity has `serverAuth` by default, a CA none. */
  extendedKeyUsage?: readonly string[] | null
  /** `null` leaves it out; by role by default. */
  keyUsage?: readonly string[] | null
  /** Content octets of the INTEGER as they are: a first bit of one makes a negative serial number. */
  serial?: Buffer
  /** Default SHA-1 of the key bits; `null` leaves it out. */
  subjectKeyId?: Buffer | null
  /** Default the issuer's subject key identifier; `null` leaves it out. */
  authorityKeyId?: Buffer | null
  extensions?: readonly Extension[]
  signatureHash?: HashName
  /** Signs with RSASSA-PSS although the issuer's key is a plain RSA key. */
  pssSignature?: boolean
  /** Names another certificate as the issuer (its subject and key identifier) than the one that signs. */
  issuerNameOf?: IssuedCertificate
  /** Flips the last bit of the signature. */
  corruptSignature?: boolean
  /** Version 1 has no extensions at all. */
  version?: 1 | 3
  /** Rewrites the SubjectPublicKeyInfo before it is signed, e.g. `spki: indefiniteLength`. */
  spki?: (der: Buffer) => Buffer
  /** Rewrites the fields of the TBSCertificate before it is signed: the way out for everything not listed here. */
  tbs?: (fields: Buffer[]) => Buffer[]
}

/** A self-signed root. */
export function createAuthority(options: CertificateOptions = {}): Authority {
  return new Authority(grow('authority', options))
}

/** A self-signed end entity, as an appliance has it: not a CA. */
export function createSelfSigned(options: CertificateOptions = {}): IssuedCertificate {
  return new IssuedCertificate(grow('entity', options))
}

/** Issues an end entity with *any* certificate's key, an end entity's included. */
export function issueWith(issuer: IssuedCertificate, options: CertificateOptions = {}): IssuedCertificate {
  return authorityFrom(issuer).issue(options)
}

/** Lets any certificate act as an issuer; what it says about itself does not change. */
export function authorityFrom(certificate: IssuedCertificate): Authority {
  return certificate instanceof Authority ? certificate : new Authority(certificate.parts)
}

/**
 * A root with the name and the key identifier of another certificate, and a key of its own: what an attacker builds to
 * be mistaken for it by everything that looks at names only.
 */
export function impersonate(target: IssuedCertificate, options: CertificateOptions = {}): Authority {
  return createAuthority({ subjectNameOf: target, subjectKeyId: target.subjectKeyId ?? null, ...options })
}

/** A PKCS#10 request; the first name is the common name too. */
export function certificateRequest(key: KeyPair, names: string[]): { der: Buffer, pem: string } {
  const info = der.sequence(
    der.integer(0),
    distinguishedName([['CN', names[0] ?? 'localhost']]),
    spkiOf(key),
    der.tagged(0, der.sequence(
      der.oid('1.2.840.113549.1.9.14'),
      der.set(der.sequence(extension({ oid: '2.5.29.17', value: der.sequence(...names.map(parseGeneralName)) }))),
    )),
  )
  const request = signed(info, signatureBy(key, {}), {})
  return { der: request, pem: pemOf('CERTIFICATE REQUEST', request) }
}

/** Makes a new key each time. RSA takes some 50 ms and more: pass the pair on where distinct keys don't matter. */
export function generateKey(kind: KeyKind): KeyPair {
  if(typeof kind === 'object') {
    return 'rsa' in kind
      ? generateKeyPairSync('rsa', { modulusLength: kind.rsa })
      : generateKeyPairSync('rsa-pss', { modulusLength: kind['rsa-pss'] })
  }
  switch(kind) {
    case 'rsa': return generateKeyPairSync('rsa', { modulusLength: 2048 })
    case 'rsa-pss': return generateKeyPairSync('rsa-pss', { modulusLength: 2048 })
    case 'ed25519': return generateKeyPairSync('ed25519')
    case 'ed448': return generateKeyPairSync('ed448')
    default: return generateKeyPairSync('ec', { namedCurve: CURVES[kind] })
  }
}

/** The complete GeneralNames with the octets given: for the NUL bytes, commas and quotes that `names` can't hold. */
export function generalNames(...entries: Array<readonly [kind: GeneralNameKind, value: string | Buffer]>): Buffer {
  return der.sequence(...entries.map(([kind, value]) => generalName(kind, value)))
}

/** A Name with one relative distinguished name per attribute. */
export function distinguishedName(attributes: readonly NameAttribute[]): Buffer {
  return der.sequence(...attributes.map(([type, value, stringType]) => der.set(der.sequence(
    der.oid(ATTRIBUTES[type] ?? type),
    der.text(value, stringType ?? DEFAULT_STRING_TYPES[type] ?? 'utf8'),
  ))))
}

/** The same value in BER's indefinite length, which OpenSSL reads and DER forbids. Only for constructed values. */
export function indefiniteLength(value: Buffer): Buffer {
  const { tag, content } = readTlv(value)
  return Buffer.concat([Buffer.from([tag, 0x80]), content, Buffer.from([0, 0])])
}

/** The same value with its length in more octets than needed, which OpenSSL reads and DER forbids. */
export function paddedLength(value: Buffer): Buffer {
  const { tag, content } = readTlv(value)
  const header = Buffer.from([tag, 0x84, 0, 0, 0, 0])
  header.writeUInt32BE(content.length, 2)
  return Buffer.concat([header, content])
}

/** What a certificate is made of, and what its children copy from it. */
export interface CertificateParts {
  readonly der: Buffer
  readonly key: KeyPair
  /** The SubjectPublicKeyInfo with exactly the octets in the certificate. */
  readonly spki: Buffer
  readonly subjectName: Buffer
  readonly issuerName: Buffer
  readonly subjectKeyId: Buffer | undefined
  readonly issuer: IssuedCertificate | undefined
}

export class IssuedCertificate {
  readonly #parts: CertificateParts
  #x509: X509Certificate | undefined

  constructor(parts: CertificateParts) {
    this.#parts = parts
  }

  get parts(): CertificateParts { return this.#parts }
  get der(): Buffer { return this.#parts.der }
  get key(): KeyPair { return this.#parts.key }
  /** The raw Name, as `subjectNameOf` and `issuerNameOf` copy it. */
  get subjectName(): Buffer { return this.#parts.subjectName }
  get subjectKeyId(): Buffer | undefined { return this.#parts.subjectKeyId }
  get spki(): Buffer { return this.#parts.spki }
  get pem(): string { return pemOf('CERTIFICATE', this.der) }
  get keyPem(): string { return this.key.privateKey.export({ type: 'pkcs8', format: 'pem' }).toString() }

  /** Parsed on demand: some certificates are made to be refused by the parser. */
  get x509(): X509Certificate {
    return this.#x509 ??= new X509Certificate(this.der)
  }

  get fingerprint(): string {
    return createHash('sha256').update(this.der).digest('hex').toUpperCase().replace(/(..)(?!$)/g, '$1:')
  }

  get pin(): string {
    return `sha256/${createHash('sha256').update(this.spki).digest('base64')}`
  }

  /** The one that signed, whatever the issuer field says. */
  get issuer(): Authority | undefined {
    return this.#parts.issuer && authorityFrom(this.#parts.issuer)
  }

  get selfSigned(): boolean {
    return this.#parts.issuer === undefined && this.#parts.subjectName.equals(this.#parts.issuerName)
  }

  /** This certificate and its issuers, without the self-signed root: what a server sends. */
  get chain(): IssuedCertificate[] {
    const chain: IssuedCertificate[] = [this]
    for (let issuer = this.#parts.issuer; issuer && !issuer.selfSigned; issuer = issuer.parts.issuer) chain.push(issuer)
    return chain
  }

  get chainPem(): string {
    return this.chain.map((certificate) => certificate.pem).join('')
  }

  /** The same certificate with other octets, e.g. tampered with after it was signed. */
  withDer(rewritten: Buffer): IssuedCertificate {
    return new IssuedCertificate({ ...this.#parts, der: rewritten })
  }
}

export class Authority extends IssuedCertificate {
  issue(options: CertificateOptions = {}): IssuedCertificate {
    return new IssuedCertificate(grow('entity', options, this))
  }

  issueAuthority(options: CertificateOptions = {}): Authority {
    return new Authority(grow('authority', options, this))
  }

  /** Certifies another CA's name and key, so that its certificates chain up to this one as well. */
  crossSign(other: IssuedCertificate, options: CertificateOptions = {}): Authority {
    return this.issueAuthority({
      subjectNameOf: other,
      key: other.key,
      subjectKeyId: other.subjectKeyId ?? null,
      ...options,
    })
  }
}

type Role = 'authority' | 'entity'

function grow(role: Role, options: CertificateOptions, issuer?: IssuedCertificate): CertificateParts {
  const key = keyFor(options.key ?? 'p256')
  const subjectName = subjectNameFor(role, options)
  const spki = options.spki ? options.spki(spkiOf(key)) : spkiOf(key)
  const subjectKeyId = options.subjectKeyId === null || options.version === 1
    ? undefined
    : options.subjectKeyId ?? keyIdentifier(key)

  const namedIssuer = options.issuerNameOf ?? issuer
  const issuerName = namedIssuer ? namedIssuer.subjectName : subjectName
  const issuerKeyId = namedIssuer ? namedIssuer.subjectKeyId : subjectKeyId
  const authorityKeyId = options.authorityKeyId === null ? undefined : options.authorityKeyId ?? issuerKeyId

  const signature = signatureBy(issuer ? issuer.key : key, options)
  const extensions = extensionsFor({ role, options, key, subjectName, subjectKeyId, authorityKeyId })
  const fields = [
    ...(options.version === 1 ? [] : [der.tagged(0, der.integer(2))]),
    der.tlv(0x02, options.serial ?? randomSerial()),
    signature.algorithm,
    issuerName,
    validity(role, options),
    subjectName,
    spki,
    ...(extensions.length > 0 ? [der.tagged(3, der.sequence(...extensions))] : []),
  ]
  const tbs = der.sequence(...(options.tbs ? options.tbs(fields) : fields))

  return { der: signed(tbs, signature, options), key, spki, subjectName, issuerName, subjectKeyId, issuer }
}

function keyFor(key: KeyKind | KeyPair): KeyPair {
  return typeof key === 'object' && 'privateKey' in key ? key : generateKey(key)
}

let madeUpNames = 0

function subjectNameFor(role: Role, options: CertificateOptions): Buffer {
  if (options.rawSubject) return options.rawSubject
  if (options.subjectNameOf) return options.subjectNameOf.subjectName
  if (options.subject) return distinguishedName(options.subject)
  return distinguishedName([['CN', options.name ?? `${role} ${++madeUpNames} ${randomBytes(3).toString('hex')}`]])
}

function validity(role: Role, { notBefore, notAfter }: CertificateOptions): Buffer {
  const days = role === 'authority' ? 3650 : 90
  return der.sequence(
    der.time(notBefore ?? new Date(Date.now() - DAY)),
    der.time(notAfter ?? new Date(Date.now() + days * DAY)),
  )
}

/** 127 random bits, positive and without a leading zero octet. */
function randomSerial(): Buffer {
  const serial = randomBytes(16)
  serial[0] = (serial[0] ?? 0) & 0x3f | 0x40
  return serial
}

function extensionsFor({ role, options, key, subjectName, subjectKeyId, authorityKeyId }: {
  role: Role
  options: CertificateOptions
  key: KeyPair
  subjectName: Buffer
  subjectKeyId: Buffer | undefined
  authorityKeyId: Buffer | undefined
}): Buffer[] {
  if (options.version === 1) return []
  const extensions: Extension[] = []
  const authority = role === 'authority'

  if(options.basicConstraints !== false) {
    extensions.push({ oid: '2.5.29.19', critical: true, value: basicConstraints(options.ca ?? authority, options.pathLength) })
  }
  const usages = options.keyUsage === undefined ? defaultKeyUsage(role, key) : options.keyUsage
  if (usages) extensions.push({ oid: '2.5.29.15', critical: true, value: keyUsage(usages) })

  const purposes = options.extendedKeyUsage === undefined && !authority ? ['serverAuth'] : options.extendedKeyUsage
  if(purposes) {
    extensions.push({ oid: '2.5.29.37', value: der.sequence(...purposes.map((name) => der.oid(PURPOSES[name] ?? name))) })
  }
  if (subjectKeyId) extensions.push({ oid: '2.5.29.14', value: der.octetString(subjectKeyId) })
  if (authorityKeyId) extensions.push({ oid: '2.5.29.35', value: der.sequence(der.tlv(0x80, authorityKeyId)) })

  const names = options.names === undefined && !authority ? LOCAL_HOST : options.names ?? []
  const san = options.rawSan ?? (names.length > 0 ? der.sequence(...names.map(parseGeneralName)) : undefined)
  // RFC 5280 4.2.1.6: critical where it is the only name there is
  if (san) extensions.push({ oid: '2.5.29.17', critical: subjectName.length === 2, value: san })

  const constraints = options.nameConstraints
  if(constraints) {
    extensions.push({ oid: '2.5.29.30', critical: constraints.critical ?? true, value: nameConstraints(constraints) })
  }
  return [...extensions, ...options.extensions ?? []].map(extension)
}

function extension({ oid, critical, value }: Extension): Buffer {
  return der.sequence(der.oid(oid), ...(critical ? [der.boolean(true)] : []), der.octetString(value))
}

function basicConstraints(ca: boolean, pathLength: number | undefined): Buffer {
  return der.sequence(
    ...(ca ? [der.boolean(true)] : []),
    ...(pathLength === undefined ? [] : [der.integer(pathLength)]),
  )
}

function defaultKeyUsage(role: Role, key: KeyPair): string[] {
  if (role === 'authority') return ['digitalSignature', 'keyCertSign', 'cRLSign']
  return key.publicKey.asymmetricKeyType === 'rsa' ? ['digitalSignature', 'keyEncipherment'] : ['digitalSignature']
}

/** A named bit list: DER wants it without trailing zero bits. */
function keyUsage(usages: readonly string[]): Buffer {
  const bits = usages.map((usage) => {
    const bit = KEY_USAGES.indexOf(usage)
    if (bit < 0) throw new Error(`no such key usage: ${usage}`)
    return bit
  })
  const last = Math.max(-1, ...bits)
  const octets = Buffer.alloc(Math.ceil((last + 1) / 8))
  for (const bit of bits) octets[bit >> 3] = (octets[bit >> 3] ?? 0) | 0x80 >> (bit & 7)
  return der.bitString(octets, last < 0 ? 0 : 7 - (last & 7))
}

function nameConstraints({ permitted = [], excluded = [] }: NonNullable<CertificateOptions['nameConstraints']>): Buffer {
  const subtrees = (names: readonly string[]) => Buffer.concat(names.map((name) => der.sequence(constraintBase(name))))
  return der.sequence(
    ...(permitted.length > 0 ? [der.tagged(0, subtrees(permitted))] : []),
    ...(excluded.length > 0 ? [der.tagged(1, subtrees(excluded))] : []),
  )
}

function constraintBase(name: string): Buffer {
  const [address = '', bits] = name.split('/')
  if (bits === undefined || !isIP(address)) return parseGeneralName(name)
  const base = addressOctets(address)
  const mask = Buffer.from(base.map((_, index) => 0xff00 >> Math.min(8, Math.max(0, Number(bits) - index * 8)) & 0xff))
  return generalName('ip', Buffer.concat([Buffer.from(base), mask]))
}

function parseGeneralName(name: string): Buffer {
  if (isIP(name)) return generalName('ip', name)
  const [, kind, value] = /^(dns|ip|uri|email|rid):(.*)$/s.exec(name) ?? [undefined, 'dns', name]
  return generalName(kind as GeneralNameKind, value ?? '')
}

function generalName(kind: GeneralNameKind, value: string | Buffer): Buffer {
  const octets = typeof value === 'string' ? Buffer.from(value) : value
  switch(kind) {
    case 'email': return der.tlv(0x81, octets)
    case 'dns': return der.tlv(0x82, octets)
    case 'uri': return der.tlv(0x86, octets)
    case 'ip': return der.tlv(0x87, typeof value === 'string' ? Buffer.from(addressOctets(value)) : value)
    case 'rid': return der.tlv(0x88, readTlv(der.oid(octets.toString())).content)
    // a Name is a CHOICE, so its tag is explicit; a string stands for a common name
    case 'directory': return der.tagged(4, typeof value === 'string' ? distinguishedName([['CN', value]]) : value)
  }
}

function addressOctets(address: string): number[] {
  switch(isIP(address)) {
    case 4: return address.split('.').map(Number)
    case 6: return ipv6Octets(address)
    default: throw new Error(`not an IP address: ${address}`)
  }
}

function ipv6Octets(address: string): number[] {
  const octets = (part: string) => part.split(':').filter(Boolean).flatMap((group) => {
    if (group.includes('.')) return group.split('.').map(Number)
    const word = Number.parseInt(group, 16)
    return [word >> 8, word & 0xff]
  })
  const [head = '', tail] = address.split('::')
  const before = octets(head)
  const after = octets(tail ?? '')
  return [...before, ...Array<number>(16 - before.length - after.length).fill(0), ...after]
}

interface Signature { algorithm: Buffer, of: (data: Buffer) => Buffer }

/** How a key signs, and what it has to call that: the two must agree or nobody can verify it. */
function signatureBy({ privateKey }: KeyPair, options: Pick<CertificateOptions, 'signatureHash' | 'pssSignature'>): Signature {
  const type = privateKey.asymmetricKeyType
  const required = privateKey.asymmetricKeyDetails?.hashAlgorithm as HashName | undefined
  const hash = options.signatureHash ?? required ?? 'sha256'

  switch(type === 'rsa' && options.pssSignature ? 'rsa-pss' : type) {
    case 'rsa':
      return {
        algorithm: der.sequence(der.oid(RSA_SIGNATURES[hash]), der.none()),
        of: (data) => sign(hash, data, privateKey),
      }
    case 'rsa-pss':
      return {
        algorithm: der.sequence(der.oid('1.2.840.113549.1.1.10'), pssParameters(hash)),
        of: (data) => sign(hash, data, { key: privateKey, padding: constants.RSA_PKCS1_PSS_PADDING, saltLength: HASH_LENGTHS[hash] }),
      }
    case 'ec':
      return { algorithm: der.sequence(der.oid(ECDSA_SIGNATURES[hash])), of: (data) => sign(hash, data, privateKey) }
    case 'ed25519':
      return { algorithm: der.sequence(der.oid('1.3.101.112')), of: (data) => sign(null, data, privateKey) }
    case 'ed448':
      return { algorithm: der.sequence(der.oid('1.3.101.113')), of: (data) => sign(null, data, privateKey) }
    default:
      throw new Error(`no signature with a key of type ${String(type)}`)
  }
}

/** SHA-1 and its 20 octets of salt are the defaults, and DER leaves defaults out. */
function pssParameters(hash: HashName): Buffer {
  if (hash === 'sha1') return der.sequence()
  const hashAlgorithm = der.sequence(der.oid(HASHES[hash]), der.none())
  return der.sequence(
    der.tagged(0, hashAlgorithm),
    der.tagged(1, der.sequence(der.oid('1.2.840.113549.1.1.8'), hashAlgorithm)),
    der.tagged(2, der.integer(HASH_LENGTHS[hash])),
  )
}

function signed(content: Buffer, signature: Signature, { corruptSignature }: CertificateOptions): Buffer {
  const value = signature.of(content)
  if (corruptSignature) value[value.length - 1] = (value[value.length - 1] ?? 0) ^ 1
  return der.sequence(content, signature.algorithm, der.bitString(value))
}

function spkiOf({ publicKey }: KeyPair): Buffer {
  return publicKey.export({ type: 'spki', format: 'der' })
}

/** RFC 5280 4.2.1.2, method 1: over the BIT STRING's content without its count of unused bits. */
function keyIdentifier(key: KeyPair): Buffer {
  const algorithm = readTlv(readTlv(spkiOf(key)).content)
  return createHash('sha1').update(readTlv(algorithm.rest).content.subarray(1)).digest()
}

function pemOf(label: string, content: Buffer): string {
  const lines = content.toString('base64').match(/.{1,64}/g) ?? []
  return [`-----BEGIN ${label}-----`, ...lines, `-----END ${label}-----`, ''].join('\n')
}

const DAY = 24 * 60 * 60 * 1000

const LOCAL_HOST = ['localhost', '127.0.0.1', '::1']

const CURVES = {
  p256: 'prime256v1',
  p384: 'secp384r1',
  p521: 'secp521r1',
  secp256k1: 'secp256k1',
  brainpoolP256r1: 'brainpoolP256r1',
}

const HASHES: Record<HashName, string> = {
  sha1: '1.3.14.3.2.26',
  sha256: '2.16.840.1.101.3.4.2.1',
  sha384: '2.16.840.1.101.3.4.2.2',
  sha512: '2.16.840.1.101.3.4.2.3',
}

const HASH_LENGTHS: Record<HashName, number> = { sha1: 20, sha256: 32, sha384: 48, sha512: 64 }

const RSA_SIGNATURES: Record<HashName, string> = {
  sha1: '1.2.840.113549.1.1.5',
  sha256: '1.2.840.113549.1.1.11',
  sha384: '1.2.840.113549.1.1.12',
  sha512: '1.2.840.113549.1.1.13',
}

const ECDSA_SIGNATURES: Record<HashName, string> = {
  sha1: '1.2.840.10045.4.1',
  sha256: '1.2.840.10045.4.3.2',
  sha384: '1.2.840.10045.4.3.3',
  sha512: '1.2.840.10045.4.3.4',
}

const ATTRIBUTES: Record<string, string> = {
  CN: '2.5.4.3',
  SN: '2.5.4.4',
  serialNumber: '2.5.4.5',
  C: '2.5.4.6',
  L: '2.5.4.7',
  ST: '2.5.4.8',
  street: '2.5.4.9',
  O: '2.5.4.10',
  OU: '2.5.4.11',
  DC: '0.9.2342.19200300.100.1.25',
  UID: '0.9.2342.19200300.100.1.1',
  emailAddress: '1.2.840.113549.1.9.1',
}

const DEFAULT_STRING_TYPES: Record<string, StringType> = {
  C: 'printable',
  serialNumber: 'printable',
  DC: 'ia5',
  emailAddress: 'ia5',
}

/** In the order of their bits. */
const KEY_USAGES = [
  'digitalSignature', 'nonRepudiation', 'keyEncipherment', 'dataEncipherment', 'keyAgreement',
  'keyCertSign', 'cRLSign', 'encipherOnly', 'decipherOnly',
]

const PURPOSES: Record<string, string> = {
  any: '2.5.29.37.0',
  serverAuth: '1.3.6.1.5.5.7.3.1',
  clientAuth: '1.3.6.1.5.5.7.3.2',
  codeSigning: '1.3.6.1.5.5.7.3.3',
  emailProtection: '1.3.6.1.5.5.7.3.4',
  timeStamping: '1.3.6.1.5.5.7.3.8',
  ocspSigning: '1.3.6.1.5.5.7.3.9',
}
