/**
 * One value of DER (X.690 §10), read strictly: single-byte tags, definite and minimal lengths, nothing left over.
 * What OpenSSL would read leniently (BER's indefinite lengths) is refused here, so that both never read two different
 * things out of the same bytes. Never used for the key of a certificate: that comes from OpenSSL itself.
 */
export interface DerValue {
  readonly tag: number
  readonly content: Buffer
  /** Tag, length and content. */
  readonly raw: Buffer
}

/** Reads the one value that `bytes` consists of. @throws {RangeError} when it is not strict DER */
export function readDer(bytes: Buffer): DerValue {
  const value = readNext(bytes, 0)
  if (value.raw.length !== bytes.length) throw new RangeError('bytes follow the DER value')
  return value
}

/** Reads the values inside a constructed one. @throws {RangeError} when it is not strict DER */
export function readDerChildren(parent: DerValue): DerValue[] {
  if ((parent.tag & constructed) === 0) throw new RangeError('a DER value that should be constructed is primitive')
  const children: DerValue[] = []
  for (let offset = 0; offset < parent.content.length; ) {
    const child = readNext(parent.content, offset)
    children.push(child)
    offset += child.raw.length
  }
  return children
}

/** An OBJECT IDENTIFIER in dotted form. @throws {RangeError} when the value is none */
export function readOid(value: DerValue): string {
  if (value.tag !== derTag.oid || value.content.length === 0 || (value.content.at(-1) as number) & 0x80) throw new RangeError('not an OBJECT IDENTIFIER')
  const arcs: bigint[] = []
  let arc = 0n
  for (const byte of value.content) {
    if (arc === 0n && byte === 0x80) throw new RangeError('an OBJECT IDENTIFIER that is not minimal')
    // Shifting a number that grows takes quadratic time, and the bytes may be a stranger's.
    if (arc > largestArc) throw new RangeError('an OBJECT IDENTIFIER with an oversized arc')
    arc = (arc << 7n) | BigInt(byte & 0x7f)
    if (byte & 0x80) continue
    arcs.push(arc)
    arc = 0n
  }
  const first = arcs[0] as bigint
  const root = first < 40n ? 0n : first < 80n ? 1n : 2n
  return [root, first - root * 40n, ...arcs.slice(1)].join('.')
}

// A UUID under 2.25 is the largest in use.
const largestArc = 1n << 128n

export const derTag = { boolean: 0x01, integer: 0x02, bitString: 0x03, octetString: 0x04, oid: 0x06, sequence: 0x30 } as const

const constructed = 0x20

function readNext(bytes: Buffer, start: number): DerValue {
  const tag = byteAt(bytes, start)
  if ((tag & 0x1f) === 0x1f) throw new RangeError('a multi-byte DER tag')
  const { length, offset } = readLength(bytes, start + 1)
  const end = offset + length
  if (end > bytes.length) throw new RangeError('a DER value ends after its bytes')
  return { tag, content: bytes.subarray(offset, end), raw: bytes.subarray(start, end) }
}

function readLength(bytes: Buffer, start: number): { length: number; offset: number } {
  const first = byteAt(bytes, start)
  if (first < 0x80) return { length: first, offset: start + 1 }
  const count = first & 0x7f
  if (count === 0 || count > 4) throw new RangeError('an indefinite or oversized DER length')
  let length = 0
  for (let i = 1; i <= count; i++) length = length * 256 + byteAt(bytes, start + i)
  if (length < 0x80 || length < 256 ** (count - 1)) throw new RangeError('a DER length that is not minimal')
  return { length, offset: start + 1 + count }
}

function byteAt(bytes: Buffer, offset: number): number {
  const byte = bytes[offset]
  if (byte === undefined) throw new RangeError('DER ends in the middle of a value')
  return byte
}
