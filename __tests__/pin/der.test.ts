import fc from 'fast-check'
import { derTag, readDer, readDerChildren, readOid } from '../../lib/pin/der.js'
import { der } from '../support/pki.js'

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(' ', ''), 'hex')

describe('readDer', () => {
  test('splits a value into its tag, its content and all of its bytes', () => {
    const value = readDer(hex('04 03 010203'))
    expect(value.tag).toBe(derTag.octetString)
    expect(value.content).toEqual(hex('010203'))
    expect(value.raw).toEqual(hex('04 03 010203'))
  })

  test.each([0, 1, 0x7f, 0x80, 0xff, 0x100, 0xffff, 0x10000])('reads back a value of %d bytes', (length) => {
    const content = Buffer.alloc(length, 0x5a)
    expect(readDer(der.octetString(content)).content.equals(content)).toBe(true)
  })

  test.each([
    ['nothing at all', ''],
    ['a tag without a length', '30'],
    ['a length longer than the bytes', '04 05 01020304'],
    ['bytes after the value', '04 01 aa 00'],
    ['two values', '05 00 05 00'],
    ["BER's indefinite length", '30 80 05 00 00 00'],
    ['an indefinite length of a primitive value', '04 80 00 00'],
    ['a long form for a length under 128', '04 81 01 aa'],
    ['a leading zero in a long length', `04 82 0080 ${'aa'.repeat(128)}`],
    ['a length of five octets', '04 85 0000000001 aa'],
    ['a length cut short', '04 82 01'],
    ['the reserved length 0xff', '04 ff aa'],
    ['a tag of several bytes', '1f 81 00 01 aa'],
    ['a length beyond what fits in 32 bits', '04 84 ffffffff aa']
  ])('refuses %s', (_, bytes) => {
    expect(() => readDer(hex(bytes))).toThrow(RangeError)
  })

  test('refuses every proper prefix of a value', () => {
    const whole = der.sequence(der.integer(70_000), der.octetString(Buffer.alloc(300)), der.sequence(der.none()))
    for (let length = 0; length < whole.length; length++) expect(() => readDer(whole.subarray(0, length))).toThrow(RangeError)
  })

  test('throws nothing but RangeError for any bytes, and returns those same bytes otherwise', () => {
    const bytes = fc.oneof(
      fc.uint8Array({ maxLength: 40 }),
      fc.tuple(fc.constantFrom(0x30, 0x04, 0x02, 0x1f, 0xa0), fc.constantFrom(0, 1, 2, 0x7f, 0x80, 0x81, 0x82, 0x84, 0xff), fc.uint8Array({ maxLength: 20 })).map(([tag, length, rest]) => Uint8Array.from([tag, length, ...rest]))
    )
    fc.assert(fc.property(bytes, (given) => {
      const buffer = Buffer.from(given)
      const value = valueOrRangeError(() => readDer(buffer))
      if (value === undefined) return
      expect(value.raw).toEqual(buffer)
      // What was accepted has exactly one spelling.
      expect(der.tlv(value.tag, value.content)).toEqual(buffer)
    }), { numRuns: 1_000 })
  })
})

describe('readDerChildren', () => {
  test('reads the values of a SEQUENCE in order, without a gap', () => {
    const parts = [der.integer(5), der.none(), der.sequence(der.boolean(true)), der.octetString(Buffer.alloc(200))]
    expect(readDerChildren(readDer(der.sequence(...parts))).map(({ raw }) => raw)).toEqual(parts)
  })

  test('finds nothing in an empty SEQUENCE', () => {
    expect(readDerChildren(readDer(der.sequence()))).toEqual([])
  })

  test('refuses a primitive value, whose content is not values', () => {
    expect(() => readDerChildren(readDer(der.octetString(der.none())))).toThrow(RangeError)
  })

  test.each([
    ['the last child is cut short', '30 03 04 05 aa'],
    ['a child has an indefinite length', '30 06 30 80 05 00 00 00'],
    ['a child would reach past its parent', '30 02 04 01']
  ])('refuses when %s', (_, bytes) => {
    expect(() => readDerChildren(readDer(hex(bytes)))).toThrow(RangeError)
  })

  test('does not let a child read beyond its parent into what follows', () => {
    // SEQUENCE { SEQUENCE { OCTET STRING of 2, of which one byte belongs to the next value } NULL }
    const [inner] = readDerChildren(readDer(hex('30 07 30 03 04 02 aa 05 00')))
    expect(() => readDerChildren(inner ?? readDer(der.none()))).toThrow(RangeError)
  })

  test('reads back any tree of values', () => {
    const { tree } = fc.letrec<{ tree: Buffer; leaf: Buffer; node: Buffer[] }>((tie) => ({
      tree: fc.oneof({ maxDepth: 4 }, tie('leaf'), tie('node').map((children) => der.sequence(...children))),
      leaf: fc.uint8Array({ maxLength: 20 }).map((bytes) => der.octetString(Buffer.from(bytes))),
      node: fc.array(tie('tree'), { maxLength: 4 })
    }))
    fc.assert(fc.property(fc.array(tree, { maxLength: 5 }), (parts) => {
      expect(readDerChildren(readDer(der.sequence(...parts))).map(({ raw }) => raw)).toEqual(parts)
    }))
  })
})

describe('readOid', () => {
  test.each(['1.2.840.113549.1.1.11', '2.5.29.17', '0.9.2342.19200300.100.1.25', '1.3.6.1.5.5.7.3.1', '2.16.840.1.113730.4.1', '0.0', '0.39', '1.0', '1.39', '2.0', '2.39', '2.40', '2.47', '2.48', '2.999.1'])('reads %s', (oid) => {
    expect(readOid(readDer(der.oid(oid)))).toBe(oid)
  })

  test('reads an arc as large as a UUID, and does not round it', () => {
    // 2.25.<UUID of all ones>: 128 bits are 19 octets of 7, the first of them with 2.
    expect(readOid(readDer(hex(`06 14 69 83 ${'ff'.repeat(17)} 7f`)))).toBe(`2.25.${2n ** 128n - 1n}`)
  })

  test('reads back any OID', () => {
    const oid = fc.tuple(fc.constantFrom(0, 1, 2), fc.nat(39), fc.array(fc.nat(), { maxLength: 8 })).map(([root, second, rest]) => [root, second, ...rest].join('.'))
    fc.assert(fc.property(oid, (dotted) => {
      expect(readOid(readDer(der.oid(dotted)))).toBe(dotted)
    }))
  })

  test.each([
    ['an empty one', '06 00'],
    ['one that ends within an arc', '06 03 2a 86 86'],
    ['an arc with leading zeros, which would be a second spelling of the same OID', '06 04 55 1d 80 11'],
    ['a first arc with leading zeros', '06 04 80 55 1d 11'],
    ['another type of value', '04 03 55 1d 11'],
    ['an arc larger than any in use', `06 16 2a ${'ff'.repeat(20)} 7f`]
  ])('refuses %s', (_, bytes) => {
    expect(() => readOid(readDer(hex(bytes)))).toThrow(RangeError)
  })

  test('gives up early on an endless arc, since the bytes may be a stranger\'s', () => {
    const endless = (length: number): Buffer => der.tlv(derTag.oid, Buffer.alloc(length, 0xff), Buffer.from([0x7f]))
    // Quadratic work would make the long one some 2,500 times as expensive.
    const [short, long] = fastestOf(9, () => costOf(() => readOid(readDer(endless(2_000)))), () => costOf(() => readOid(readDer(endless(100_000)))))
    expect(long).toBeLessThan(200 * short)
  })

  test('throws nothing but RangeError for any content', () => {
    fc.assert(fc.property(fc.uint8Array({ maxLength: 30 }), (content) => {
      const value = valueOrRangeError(() => readOid(readDer(der.tlv(derTag.oid, Buffer.from(content)))))
      if (value !== undefined) expect(value).toMatch(/^[012](\.\d+)+$/)
    }))
  })
})

function valueOrRangeError<T>(read: () => T): T | undefined {
  try {
    return read()
  } catch (error) {
    expect(error).toBeInstanceOf(RangeError)
    return undefined
  }
}

function costOf(work: () => unknown): number {
  const start = process.hrtime.bigint()
  valueOrRangeError(work)
  return Number(process.hrtime.bigint() - start)
}

function fastestOf(rounds: number, ...measures: Array<() => number>): [number, number] {
  const fastest = measures.map(() => Infinity)
  for (let round = 0; round < rounds; round++) measures.forEach((measure, i) => { fastest[i] = Math.min(fastest[i] as number, measure()) })
  return fastest as [number, number]
}
