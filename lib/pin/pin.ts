import { PinInvalidError } from '../errors.js'

/**
 * A pin is a SHA-256, of a whole certificate or of a SubjectPublicKeyInfo (RFC 7469 §2.4). `text` is its canonical
 * form: `AB:CD:…` (32 upper-case hex bytes) for a certificate, `sha256/<base64>` for a key.
 */
export interface Pin {
  readonly kind: 'certificate' | 'key'
  readonly text: string
}

/**
 * Reads a pin in any spelling the field uses: `AB:CD:…` with or without colons, or with a space between the bytes, any case, with or without openssl's
 * `SHA256 Fingerprint=` in front (a certificate); `sha256/<base64>` (OkHttp), `sha256//<base64>` (curl) or
 * `pin-sha256="<base64>"` (RFC 7469) (a key).
 *
 * @throws {TypeError} for anything but a string
 * @throws {PinInvalidError} `ERR_PIN_INVALID`, naming the text, what is wrong and what would be right
 */
export function parsePin(text: unknown): Pin {
  if (typeof text !== 'string') throw new TypeError(`A pin is a string, not ${describeType(text)}`)
  if (canonicalKeyPin.test(text)) return { kind: 'key', text }
  const trimmed = text.trim()
  const slashed = /^sha256\/(.*)$/is.exec(trimmed)
  if (slashed) return { kind: 'key', text: `sha256/${readBase64(text, stripCurlSlash(slashed[1] as string))}` }
  const quoted = /^pin-sha256=("?)(.*)\1$/is.exec(trimmed)
  if (quoted) return { kind: 'key', text: `sha256/${readBase64(text, quoted[2] as string)}` }
  const certificate = /^(?:sha-?256 fingerprint=)?([0-9a-f:]*)$/i.exec(trimmed)
  if (certificate) return { kind: 'certificate', text: readHex(text, certificate[1] as string) }
  const spaced = /^(?:sha-?256 fingerprint=)?([0-9a-f]{2}(?: [0-9a-f]{2})+)$/i.exec(trimmed)
  if (spaced) return { kind: 'certificate', text: readHex(text, (spaced[1] as string).replaceAll(' ', ':')) }
  throw invalid(text, explain(trimmed))
}

// 32 bytes of base64, whose last character has two bits to spare. Most pins of a long list are written like this.
const canonicalKeyPin = /^sha256\/[A-Za-z0-9+/]{42}[AEIMQUYcgkosw048]=$/

/** The canonical text of 32 bytes of a certificate's SHA-256: `AB:CD:…`. */
export function formatFingerprint(digest: Buffer): string {
  return (digest.toString('hex').toUpperCase().match(/../g) as string[]).join(':')
}

/** The canonical text of 32 bytes of an SPKI's SHA-256: `sha256/<base64>`. */
export function formatKeyPin(digest: Buffer): string {
  return `sha256/${digest.toString('base64')}`
}

/**
 * A text as an error may show it: quoted, control and invisible characters escaped, left out when long, never a private key,
 * nor what may be secret in a URL.
 */
export function quoteInput(text: string): string {
  if (holdsPrivateKey(text)) return '(a private key, not shown)'
  if (text.length > shownLength) return `(${text.length} characters, not shown)`
  return JSON.stringify(withoutUrlSecrets(text)).replaceAll(/[\p{C}\p{Zl}\p{Zp}]/gu, escapeCharacter)
}

const shownLength = 120

/** `https://…@host/path?…`: without user, password, query and fragment, also where what stands in them makes it no URL. */
function withoutUrlSecrets(text: string): string {
  if (!/^\s*(?:[a-z][a-z0-9+.-]*:)?\/\/|@|[?#][^=]+=./i.test(text)) return text
  return text.replace(/^(\s*(?:[a-z][a-z0-9+.-]*:)?\/\/)?[^]*@/i, '$1…@').replace(/(?<=[?#])[^]+/, '…')
}

function escapeCharacter(character: string): string {
  const hex = (character.codePointAt(0) as number).toString(16).padStart(4, '0')
  return hex.length > 4 ? `\\u{${hex}}` : `\\u${hex}`
}

function readHex(text: string, hex: string): string {
  const digits = hex.replaceAll(':', '')
  if (digits.length === 0) throw invalid(text, `it is empty; ${rightForms}`)
  if (digits.length !== 64) throw invalid(text, explainHexLength(digits.length))
  if (hex.includes(':') && !/^(?:[0-9a-f]{2}:){31}[0-9a-f]{2}$/i.test(hex)) throw invalid(text, 'its colons do not separate single bytes; right would be AB:CD:… with 32 bytes')
  return formatFingerprint(Buffer.from(digits, 'hex'))
}

function explainHexLength(digits: number): string {
  const known = digestNames.get(digits)
  const length = digits % 2 === 0 ? `${digits / 2} bytes` : `${digits} hex digits, half a byte too ${digits > 64 ? 'many' : 'few'}`
  const what = known === undefined ? `it is ${length} long` : `it is ${length} long, ${known}`
  return `${what}; right would be the 32 bytes of a SHA-256 (openssl x509 -noout -fingerprint -sha256)`
}

const digestNames = new Map([
  [32, 'the length of MD5, which is broken'],
  [40, 'the length of SHA-1, which is broken'],
  [96, 'the length of SHA-384'],
  [128, 'the length of SHA-512']
])

/** curl writes `sha256//`; but one digest in 64 begins with a slash of its own, so the length decides. */
function stripCurlSlash(base64: string): string {
  return base64.startsWith('/') && base64.length !== 44 ? base64.slice(1) : base64
}

function readBase64(text: string, base64: string): string {
  const bytes = Buffer.from(base64, 'base64')
  if (bytes.toString('base64') === base64 && bytes.length === 32) return base64
  throw invalid(text, explainBase64(base64, bytes))
}

function explainBase64(base64: string, bytes: Buffer): string {
  const right = 'right would be 44 characters of base64 ending in "=", the 32 bytes of a SHA-256'
  if (isPlaceholder(base64)) return placeholder
  if (base64 === '') return `nothing follows the prefix; ${right}`
  if (/^[0-9a-f:]+$/i.test(base64) && base64.replaceAll(':', '').length === 64) return `this is hex after a base64 prefix; leave the prefix out if it is a certificate fingerprint, else ${right}`
  if (/[^A-Za-z0-9+/=_-]/.test(base64)) return `it has a character that base64 does not have; ${right}`
  if (/[_-]/.test(base64)) return `it is base64url; write + for - and / for _; ${right}`
  if (bytes.length === 20) return `it is 20 bytes long, the length of SHA-1, which is broken; ${right}`
  if (bytes.length !== 32) return `it is ${bytes.length} bytes long; ${right}`
  if (!base64.endsWith('=')) return `its padding "=" is missing; ${right}`
  return `it is not canonical base64, ${JSON.stringify(bytes.toString('base64'))} would be; ${right}`
}

function explain(text: string): string {
  if (isPlaceholder(text)) return placeholder
  const prefix = /^(?:pin-)?(sha-?1|md5|sha-?224|sha-?384|sha-?512)\b/i.exec(text)?.[1]
  if (prefix !== undefined) return /1$|md5/i.test(prefix) && !/512/.test(prefix) ? `${prefix.toUpperCase()} is broken; ${rightForms}` : `${prefix} is not used for pins; ${rightForms}`
  if (text.includes('PRIVATE KEY')) return `it is a private key: never put it here; pinOf(key) gives its pin (${rightForms})`
  if (text.includes('-----BEGIN')) return `it is PEM; pinOf(pem) or fingerprintOf(pem) gives its pin, and \`authorities\` takes a CA's PEM (${rightForms})`
  if (/^https?:/i.test(text)) return `it is a URL; ${rightForms}`
  if (/^(?:sha-?256 fingerprint=)?[0-9a-f:\s]+$/i.test(text)) return `its spaces do not separate single bytes; ${rightForms}`
  const bare = Buffer.from(text, 'base64')
  if (bare.length === 32 && bare.toString('base64') === text) return `a key pin needs its prefix: sha256/${text}`
  if (looksLikePath(text)) return `this looks like a path; right would be what the file holds: fingerprintOf(readFileSync(path)) for a certificate, pinOf(readFileSync(path)) for its key`
  return rightForms
}

/** Whether a text that should be the content of a file is rather its name. */
export function looksLikePath(text: string): boolean {
  if (text.length > 1_000 || /[\r\n]|:\/\//.test(text)) return false
  return /^(?:\.{1,2}|~)?[/\\]|^[a-z]:[/\\]|\.(?:pem|crt|cer|der|key|csr|pub|p7b|p12|pfx|jwk)$/i.test(text.trim())
}

function isPlaceholder(text: string): boolean {
  return /…|\.\.\.$/.test(text)
}

const placeholder = "this is the placeholder of the documentation; right would be a pin of your own server, as axios-ssl-pinning inspect prints it"

const rightForms = 'right would be AB:CD:… (32 bytes, the SHA-256 of a certificate) or sha256/<base64> (the SHA-256 of a public key)'

function invalid(text: string, reason: string): PinInvalidError {
  return new PinInvalidError(quoteInput(text), reason)
}

/**
 * Whether a text holds a private key: by its PEM or JWK words, or because its base64 or hex, whatever stands before or
 * between, has the start of one (a key cut short is still most of a key).
 */
export function holdsPrivateKey(text: string): boolean {
  const start = text.slice(0, searchedLength)
  if (/PRIVATE[ -]KEY/i.test(start) || /(?:^|[^A-Za-z0-9])d\\*["']?\s*:\s*\\*["']/.test(start)) return true
  if (start.length < shortestKey) return false
  const base64 = start.replaceAll(/[^A-Za-z0-9+/_-]/g, '')
  const hex = start.replaceAll(/0x|[^0-9a-f]/gi, '')
  const decoded = [
    ...[0, 1, 2, 3].map((offset) => Buffer.from(base64.slice(offset), 'base64')),
    ...[0, 1].map((offset) => Buffer.from(hex.slice(offset), 'hex'))
  ]
  return decoded.some((bytes) => privateKeyStart.test(bytes.toString('latin1')))
}

const searchedLength = 20_000

// Characters: 32 bytes and the least DER around them come to 52 in base64, some of which may be missing.
const shortestKey = 40

// PKCS#8, PKCS#1 and SEC 1 all start: SEQUENCE { INTEGER 0 or 1, then a SEQUENCE, INTEGER or OCTET STRING. So does what a
// certificate request holds, but that stands inside another SEQUENCE.
const privateKeyStart = /(?<!\x30\x81[^]|\x30\x82[^]{2})\x30(?:[\x00-\x7f]|\x81[^]|\x82[^]{2})\x02\x01[\x00\x01][\x30\x02\x04]/

/** `null`, `an array` or the `typeof`, for error messages. */
export function describeType(value: unknown): string {
  if (value === null) return 'null'
  if (Array.isArray(value)) return 'an array'
  return /^[aeiou]/.test(typeof value) && value !== undefined ? `an ${typeof value}` : value === undefined ? 'undefined' : `a ${typeof value}`
}

/** The text of whatever was thrown. */
export function describeError(error: unknown): string {
  try {
    return String(error)
  } catch {
    return 'an error that has no text'
  }
}
