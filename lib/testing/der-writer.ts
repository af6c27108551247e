/** The half of DER (X.690) that writes. It writes what it is told, also what no reader should accept. */
export type StringType = 'utf8' | 'printable' | 'teletex' | 'ia5' | 'bmp' | 'universal'

/** Reads one value written by this file or by OpenSSL: definite lengths and short tags only. */
export function readTlv(value: Buffer): { tag: number, content: Buffer, rest: Buffer } {
  const first = value.readUInt8(1)
  const lengthOctets = first < 0x80 ? 0 : first & 0x7f
  const length = lengthOctets === 0 ? first : value.readUIntBE(2, lengthOctets)
  const start = 2 + lengthOctets
  return { tag: value.readUInt8(0), content: value.subarray(start, start + length), rest: value.subarray(start + length) }
}

/** The DER writer, for whatever a test wants to write by hand. */
export const der = {
  tlv(tag: number, ...contents: Buffer[]): Buffer {
    const content = Buffer.concat(contents)
    return Buffer.concat([Buffer.from([tag, ...lengthOctets(content.length)]), content])
  },
  sequence(...contents: Buffer[]): Buffer { return der.tlv(0x30, ...contents) },
  /** As given: DER wants the elements sorted, but all sets here have one. */
  set(...contents: Buffer[]): Buffer { return der.tlv(0x31, ...contents) },
  /** Context-specific and constructed: an explicit tag, or an implicit one of a SEQUENCE's content. */
  tagged(number: number, ...contents: Buffer[]): Buffer { return der.tlv(0xa0 | number, ...contents) },
  none(): Buffer { return der.tlv(0x05) },
  boolean(value: boolean): Buffer { return der.tlv(0x01, Buffer.from([value ? 0xff : 0])) },
  /** A non-negative number. */
  integer(value: number): Buffer {
    const hex = value.toString(16)
    const octets = Buffer.from(hex.padStart(hex.length + hex.length % 2, '0'), 'hex')
    return der.tlv(0x02, ...(octets.readUInt8(0) >= 0x80 ? [Buffer.from([0])] : []), octets)
  },
  octetString(value: Buffer): Buffer { return der.tlv(0x04, value) },
  bitString(value: Buffer, unusedBits = 0): Buffer { return der.tlv(0x03, Buffer.from([unusedBits]), value) },
  oid(dotted: string): Buffer {
    const arcs = dotted.split('.').map(Number)
    if (arcs.length < 2 || !arcs.every(Number.isSafeInteger)) throw new Error(`neither a known name nor an OID: ${dotted}`)
    const [first = 0, second = 0, ...others] = arcs
    return der.tlv(0x06, Buffer.from([first * 40 + second, ...others].flatMap(base128)))
  },
  text(value: string | Buffer, type: StringType): Buffer {
    return der.tlv(STRING_TAGS[type], typeof value === 'string' ? encodeText(value, type) : value)
  },
  /** UTCTime has two digits for the year, and stands for 1950 to 2049. */
  time(date: Date): Buffer {
    const digits = date.toISOString().replace(/\.\d+|[-:T]/g, '')
    const short = date.getUTCFullYear() >= 1950 && date.getUTCFullYear() < 2050
    return short ? der.tlv(0x17, Buffer.from(digits.slice(2))) : der.tlv(0x18, Buffer.from(digits))
  },
}

function lengthOctets(length: number): number[] {
  if (length < 0x80) return [length]
  const octets: number[] = []
  for (let rest = length; rest > 0; rest >>>= 8) octets.unshift(rest & 0xff)
  return [0x80 | octets.length, ...octets]
}

function base128(value: number): number[] {
  const octets = [value % 128]
  for (let rest = Math.floor(value / 128); rest > 0; rest = Math.floor(rest / 128)) octets.unshift(0x80 | rest % 128)
  return octets
}

export function encodeText(value: string, type: StringType): Buffer {
  switch(type) {
    case 'utf8': return Buffer.from(value, 'utf8')
    case 'bmp': return Buffer.from(value, 'utf16le').swap16()
    case 'universal': return Buffer.concat([...value].map((character) => {
      const octets = Buffer.alloc(4)
      octets.writeUInt32BE(character.codePointAt(0) ?? 0)
      return octets
    }))
    default: return Buffer.from(value, 'latin1')
  }
}

const STRING_TAGS: Record<StringType, number> = {
  utf8: 0x0c,
  printable: 0x13,
  teletex: 0x14,
  ia5: 0x16,
  universal: 0x1c,
  bmp: 0x1e,
}
