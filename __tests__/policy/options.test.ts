import { runInNewContext } from 'node:vm'
import fc from 'fast-check'
import { PolicyInvalidError } from '../../lib/errors.js'
import { optionPath, ownOptions, readBoolean, readChoice, readFunction, readInstant, readList, readOptions, suggestOption } from '../../lib/policy/options.js'

const names = ['pins', 'mode', 'expires', 'allowedSHAFingerprints']

function refusalOf(read: () => unknown): PolicyInvalidError {
  try {
    read()
  } catch (error) {
    if (error instanceof PolicyInvalidError) return error
    throw error
  }
  throw new Error('it was not refused')
}

describe('readOptions', () => {
  test('copies what the object has itself', () => {
    const given = { pins: ['x'], mode: undefined }
    const read = readOptions(given, names, 'options')
    expect({ ...read }).toEqual({ pins: ['x'], mode: undefined })
    given.pins = []
    expect(read.pins).toEqual(['x'])
  })

  test('reads no option from a prototype, neither a polluted Object.prototype nor a class', () => {
    const polluted = Object.prototype as { mode?: string }
    polluted.mode = 'off'
    try {
      const read = readOptions<{ pins?: string[]; mode?: string }>({ pins: [] }, names, 'options')
      expect(read.mode).toBeUndefined()
      expect(Object.getPrototypeOf(read)).toBeNull()
      expect(ownOptions<{ mode?: string }>({}).mode).toBeUndefined()
    } finally {
      delete polluted.mode
    }
    class Options { get mode() { return 'off' } }
    expect(readOptions(new Options(), names, 'options').mode).toBeUndefined()
  })

  test('takes an object without a prototype', () => {
    const given = Object.assign(Object.create(null) as object, { mode: 'off' })
    expect({ ...readOptions(given, names, 'options') }).toEqual({ mode: 'off' })
  })

  test.each<[string, string, string]>([
    ['alowedSHAFingerprints', 'alowedSHAFingerprints', 'there is no such option; did you mean "allowedSHAFingerprints"?'],
    ['Mode', 'Mode', 'there is no such option; did you mean "mode"?'],
    ['pin', 'pin', 'there is no such option; did you mean "pins"?'],
    ['somethingElseAltogether', 'somethingElseAltogether', 'there is no such option; there are: pins, mode, expires, allowedSHAFingerprints'],
    ['constructor', 'constructor', 'there is no such option; there are: pins, mode, expires, allowedSHAFingerprints'],
    ['a b', '"a b"', 'there is no such option; did you mean "pins"?'],
    ['', '""', 'there is no such option; did you mean "pins"?'],
    ['a\x1b[31m', '"a\\u001b[31m"', 'there is no such option; there are: pins, mode, expires, allowedSHAFingerprints']
  ])('refuses the name %j and suggests the nearest', (name, shown, reason) => {
    const error = refusalOf(() => readOptions({ [name]: 1 }, names, 'options'))
    expect([error.code, error.option, error.message]).toEqual(['ERR_PIN_POLICY_INVALID', shown, `${shown}: ${error.reason}`])
    if (name === 'a b' || name === '' || name.startsWith('a\x1b')) expect(error.reason).toMatch(/^there is no such option; /)
    else expect(error.reason).toBe(reason)
  })

  test.each([
    ['fingerprints', 'did you mean "allowedSHAFingerprints"?'],
    ['ca', 'right would be tls.ca'],
    ['clientCertificate', 'right would be tls.clientCertificate'],
    ['keepAlive', 'right would be agent.keepAlive'],
    ['trust', "right would be pins: { 'api.example.com': { trust } }, for each host pattern by itself"],
    ['spki', 'there are: allowedSHAFingerprints, pins, mode, integrity, tls, agent']
  ])('%s is not answered with a name that only looks like it', (name, text) => {
    expect(suggestOption(name, ['allowedSHAFingerprints', 'pins', 'mode', 'integrity', 'tls', 'agent'])).toBe(text)
  })

  test('refuses a name of a million characters at once, and does not show it', () => {
    expect(refusalOf(() => readOptions({ ['x'.repeat(1_000_000)]: 1 }, names, 'options')).message).toBe(`(1000000 characters, not shown): there is no such option; there are: ${names.join(', ')}`)
  })

  test('refuses __proto__ as a name, as JSON can hold it', () => {
    const given = JSON.parse('{"__proto__": {"mode": "off"}}') as object
    expect(refusalOf(() => readOptions(given, names, 'options')).option).toBe('__proto__')
  })

  test('names the whole path', () => {
    expect(refusalOf(() => readOptions({ modus: 1 }, names, 'pins["a.test"]')).option).toBe('pins["a.test"].modus')
    expect(optionPath('tls', 'ca')).toBe('tls.ca')
    expect(optionPath('options', 'ca')).toBe('ca')
  })

  test.each([[undefined, 'undefined'], [null, 'null'], ['mode', 'a string'], [5, 'a number'], [[], 'an array'], [() => 1, 'a function']])('refuses %p with a TypeError', (value, name) => {
    expect(() => readOptions(value as object, names, 'options')).toThrow(new TypeError(`options must be an object, not ${name}`))
  })

  test('reads each getter once, so that what was checked is what is used', () => {
    let reads = 0
    const given = { get mode() { return ++reads === 1 ? 'enforce' : 'off' } }
    const read = readOptions(given, names, 'options')
    expect([read.mode, read.mode, reads]).toEqual(['enforce', 'enforce', 1])
  })

  test('lets the error of a getter pass as it is: it is the caller\'s', () => {
    const error = new Error('from the getter')
    expect(() => readOptions({ get mode() { throw error } }, names, 'options')).toThrow(error)
  })
})

describe('readChoice', () => {
  test('gives the value, or the fallback when there is none', () => {
    expect(readChoice('a', ['a', 'b'], 'b', 'x')).toBe('a')
    expect(readChoice(undefined, ['a', 'b'], 'b', 'x')).toBe('b')
    expect(readChoice(undefined, ['a', 'b'], undefined, 'x')).toBeUndefined()
  })

  test.each([['A', '"A"'], ['', '""'], ['a ', '"a "'], ['toString', '"toString"'], [null, 'null'], [0, 'a number'], [false, 'a boolean'], [['a'], 'an array'], [Object('a'), 'an object']])('refuses %p, naming what is possible', (value, shown) => {
    expect(refusalOf(() => readChoice(value, ['a', 'b'], 'a', 'mode')).message).toBe(`mode: ${shown} is not possible; right would be 'a' or 'b'`)
  })
})

describe('readBoolean', () => {
  test('gives the value, or the fallback when there is none', () => {
    expect([readBoolean(true, false, 'x'), readBoolean(false, true, 'x'), readBoolean(undefined, true, 'x')]).toEqual([true, false, true])
  })

  test.each([['true', 'a string'], ['', 'a string'], [1, 'a number'], [0, 'a number'], [null, 'null'], [Object(true), 'an object']])('refuses %p: nothing is taken for true that is not', (value, name) => {
    expect(refusalOf(() => readBoolean(value, false, 'x')).message).toBe(`x: must be true or false, not ${name}`)
  })
})

describe('readFunction', () => {
  test('gives the function, or undefined when there is none', () => {
    const given = (): void => {}
    expect([readFunction(given, 'x'), readFunction(undefined, 'x')]).toEqual([given, undefined])
  })

  test.each([[null, 'null'], ['log', 'a string'], [{}, 'an object']])('refuses %p', (value, name) => {
    expect(refusalOf(() => readFunction<unknown>(value, 'x')).message).toBe(`x: must be a function, not ${name}`)
  })
})

describe('readList', () => {
  test('gives the elements, and none when there is no list', () => {
    expect([readList(['a', 1], 'x'), readList(undefined, 'x')]).toEqual([['a', 1], []])
  })

  test('does not skip holes, each of which is something that somebody meant to give', () => {
    expect(Object.keys(readList(Array(2), 'x'))).toEqual(['0', '1'])
  })

  test.each([['sha256/x', 'a string'], [null, 'null'], [{ 0: 'a', length: 1 }, 'an object'], [new Set(['a']), 'an object'], [false, 'a boolean']])('refuses %p', (value, name) => {
    expect(refusalOf(() => readList(value, 'x')).message).toBe(`x: must be an array of strings, not ${name}`)
  })
})

describe('readInstant', () => {
  test.each([
    ['2027-01-31', '2027-01-31T00:00:00.000Z'],
    ['2027-01-31T12:00Z', '2027-01-31T12:00:00.000Z'],
    ['2027-01-31T12:00:00Z', '2027-01-31T12:00:00.000Z'],
    ['2027-01-31T12:00:00.5Z', '2027-01-31T12:00:00.500Z'],
    ['2027-01-31T12:00:00.123456789Z', '2027-01-31T12:00:00.123Z'],
    ['2027-01-31T12:00:00+02:00', '2027-01-31T10:00:00.000Z'],
    ['2027-01-01T00:30:00+02:00', '2026-12-31T22:30:00.000Z'],
    ['2027-12-31T23:30:00-02:00', '2028-01-01T01:30:00.000Z'],
    ['2028-02-29', '2028-02-29T00:00:00.000Z'],
    ['0001-01-01', '0001-01-01T00:00:00.000Z']
  ])('reads %s as %s, wherever the program runs', (text, iso) => {
    expect(readInstant(text, 'expires')?.toISOString()).toBe(iso)
  })

  test('reads a Date, of another realm too, as a copy', () => {
    const date = new Date('2027-01-31T12:00:00Z')
    const read = readInstant(date, 'expires')
    date.setTime(0)
    expect(read?.toISOString()).toBe('2027-01-31T12:00:00.000Z')
    expect(readInstant(runInNewContext('new Date(0)'), 'expires')?.getTime()).toBe(0)
  })

  test('gives undefined where there is none', () => {
    expect(readInstant(undefined, 'expires')).toBeUndefined()
  })

  test.each([
    ['2027-02-30', /does not exist in the calendar/],
    ['2027-02-29', /does not exist in the calendar/],
    ['2100-02-29', /does not exist in the calendar/],
    ['2027-13-01', /does not exist in the calendar/],
    ['2027-00-01', /does not exist in the calendar/],
    ['2027-01-00', /does not exist in the calendar/],
    // V8 reads these two in a way of its own.
    ['0001-01-00', /does not exist in the calendar/],
    ['0049-12-00', /does not exist in the calendar/],
    ['2027-02-30T12:00:00Z', /does not exist in the calendar/],
    ['2027-01-31T25:00:00Z', /does not exist in the calendar/],
    ['2027-01-31T12:60:00Z', /does not exist in the calendar/],
    ['2027-01-31T12:00:60Z', /does not exist in the calendar/],
    ['2027-01-31T12:00:00+99:00', /does not exist in the calendar/],
    ['2027-01-31T12:00:00', /has no time zone/],
    ['2027-01-31T12:00', /has no time zone/],
    ['31.01.2027', /is not an ISO date/],
    ['01/31/2027', /is not an ISO date/],
    ['2027-1-31', /is not an ISO date/],
    ['2027-01', /is not an ISO date/],
    ['2027', /is not an ISO date/],
    ['+002027-01-31', /is not an ISO date/],
    ['2027-01-31 12:00:00Z', /is not an ISO date/],
    ['2027-01-31T12Z', /is not an ISO date/],
    ['2027-01-31Z', /is not an ISO date/],
    ['2027-01-31t12:00:00z', /is not an ISO date/],
    ['2027-01-31T12:00:00 Z', /is not an ISO date/],
    ['Sun Jan 31 2027', /is not an ISO date/],
    ['never', /is not an ISO date/],
    ['', /is not an ISO date/],
    ['2027-01-31\n', /is not an ISO date/],
    ['x'.repeat(1_000), /^\(1000 characters, not shown\) is not an ISO date/]
  ])('refuses %j', (text, reason) => {
    const error = refusalOf(() => readInstant(text, 'expires'))
    expect(error.reason).toMatch(reason)
    expect(error.reason).toContain('right would be "2027-01-31" (00:00 UTC) or "2027-01-31T12:00:00Z"')
  })

  test.each([[null, 'null'], [1_800_000_000, 'a number'], [true, 'a boolean'], [{}, 'an object'], [{ getTime: () => 0 }, 'an object']])('refuses %p, whose unit or meaning is a guess', (value, name) => {
    expect(refusalOf(() => readInstant(value, 'expires')).reason).toContain(`must be an ISO date or a Date, not ${name}`)
  })

  test('refuses an invalid Date', () => {
    expect(refusalOf(() => readInstant(new Date(Number.NaN), 'expires')).reason).toContain('is an invalid Date')
  })

  test('reads back the ISO form of any instant between the years 1 and 9999', () => {
    const years = { min: new Date('0001-01-01T00:00:00Z'), max: new Date('9999-12-31T23:59:59.999Z'), noInvalidDate: true }
    fc.assert(fc.property(fc.date(years), (date) => {
      expect(readInstant(date.toISOString(), 'x')?.getTime()).toBe(date.getTime())
      expect(readInstant(date, 'x')?.getTime()).toBe(date.getTime())
      expect(readInstant(date.toISOString().slice(0, 10), 'x')?.getTime()).toBe(Math.floor(date.getTime() / 86_400_000) * 86_400_000)
    }), { numRuns: 200 })
  })

  test('never rolls a date over into another one, nor throws anything but PolicyInvalidError', () => {
    const number = (max: number, digits: number) => fc.nat(max).map((value) => String(value).padStart(digits, '0'))
    const dateAlike = fc.tuple(number(9999, 4), number(14, 2), number(33, 2), fc.option(fc.tuple(number(26, 2), number(62, 2), number(62, 2), fc.constantFrom('Z', '', '+05:30', '-23:59', '+24:00')))).map(([year, month, day, time]) => {
      return `${year}-${month}-${day}${time ? `T${time.slice(0, 3).join(':')}${time[3]}` : ''}`
    })
    fc.assert(fc.property(fc.oneof(dateAlike, fc.string({ unit: 'binary' }), fc.anything()), (given) => {
      try {
        const read = readInstant(given, 'x')
        if (typeof given !== 'string' || given.includes('T')) return
        expect(read?.toISOString().slice(0, 10)).toBe(given)
      } catch (error) {
        if (!(error instanceof PolicyInvalidError)) throw error
        expect(error.option).toBe('x')
      }
    }), { numRuns: 300 })
  })
})
