import { types } from 'node:util'
import { PolicyInvalidError } from '../errors.js'
import { describeType, quoteInput } from '../pin/pin.js'
import { findAlike } from './suggestions.js'

/**
 * A copy of an options object with only its own properties and no prototype, so that nothing put on
 * `Object.prototype` is ever read as an option.
 *
 * @throws {TypeError} when it is no object
 * @throws {PolicyInvalidError} for a name that is not in `names`, suggesting the right one
 */
export function readOptions<T extends object>(value: T, names: readonly string[], where: string): T {
  if (typeof value !== 'object' || value === null || Array.isArray(value)) throw new TypeError(`${where} must be an object, not ${describeType(value)}`)
  for (const name of Object.keys(value)) {
    if (!names.includes(name)) throw new PolicyInvalidError(optionPath(where, showName(name)), `there is no such option; ${suggestOption(name, names, where)}`)
  }
  return ownOptions(value)
}

/** The copy that {@link readOptions} makes, of an object whose names are checked elsewhere. */
export function ownOptions<T extends object>(value: T): T {
  return Object.assign(Object.create(null), value) as T
}

/** @throws {PolicyInvalidError} when the value is given and not one of `values` */
export function readChoice<T extends string, D extends T | undefined>(value: unknown, values: readonly T[], fallback: D, option: string): T | D {
  if (value === undefined) return fallback
  if ((values as readonly unknown[]).includes(value)) return value as T
  const shown = typeof value === 'string' ? quoteInput(value) : describeType(value)
  throw new PolicyInvalidError(option, `${shown} is not possible; right would be ${values.map((each) => `'${each}'`).join(' or ')}`)
}

/** @throws {PolicyInvalidError} when the value is given and not a boolean */
export function readBoolean(value: unknown, fallback: boolean, option: string): boolean {
  if (value === undefined) return fallback
  if (typeof value !== 'boolean') throw new PolicyInvalidError(option, `must be true or false, not ${describeType(value)}`)
  return value
}

/** @throws {PolicyInvalidError} when the value is given and not a function */
export function readFunction<T>(value: T | undefined, option: string): T | undefined {
  if (value !== undefined && typeof value !== 'function') throw new PolicyInvalidError(option, `must be a function, not ${describeType(value)}`)
  return value
}

/** A duration in milliseconds. @throws {PolicyInvalidError} when the value is given and not a whole number from 1 on */
export function readDuration(value: unknown, option: string): number | undefined {
  if (value === undefined) return undefined
  if (Number.isSafeInteger(value) && (value as number) >= 1) return value as number
  throw new PolicyInvalidError(option, `must be milliseconds, a whole number from 1 on, not ${typeof value === 'number' ? value : describeType(value)}`)
}

/** @throws {PolicyInvalidError} when the value is not an array */
export function readList(value: unknown, option: string): readonly unknown[] {
  if (value === undefined) return []
  if (!Array.isArray(value)) throw new PolicyInvalidError(option, `must be an array of strings, not ${describeType(value)}`)
  // A hole in an array is a pin that someone meant to give.
  return Array.from(value as unknown[])
}

/**
 * An instant: a `Date`, an ISO 8601 date and time with its zone (`2027-01-31T12:00:00Z`), or a bare date, which means
 * 00:00 UTC that day.
 * @throws {PolicyInvalidError} for anything else, a local time and a day that does not exist included
 */
export function readInstant(value: unknown, option: string): Date | undefined {
  if (value === undefined) return undefined
  const right = 'right would be "2027-01-31" (00:00 UTC) or "2027-01-31T12:00:00Z"'
  if (types.isDate(value)) {
    if (Number.isNaN(value.getTime())) throw new PolicyInvalidError(option, `is an invalid Date; ${right}`)
    return new Date(value)
  }
  if (typeof value !== 'string') throw new PolicyInvalidError(option, `must be an ISO date or a Date, not ${describeType(value)}; ${right}`)
  const match = /^(\d{4}-\d{2}-\d{2})(?:T\d{2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?(Z|[+-]\d{2}:\d{2})?)?$/.exec(value)
  const shown = quoteInput(value)
  if (!match) throw new PolicyInvalidError(option, `${shown} is not an ISO date; ${right}`)
  if (value.includes('T') && match[2] === undefined) throw new PolicyInvalidError(option, `${shown} has no time zone; ${right}`)
  // Date rolls the 30th of February over, and reads what is not ISO at all in ways of its own.
  const day = new Date(`${match[1]}T00:00:00Z`)
  const instant = new Date(value)
  if (Number.isNaN(day.getTime()) || Number.isNaN(instant.getTime()) || day.toISOString().slice(0, 10) !== match[1]) throw new PolicyInvalidError(option, `${shown} does not exist in the calendar; ${right}`)
  return instant
}

/** `tls.ca`, `pins["api.example.com"]`, or just the name at the top. */
export function optionPath(where: string, name: string): string {
  return where === 'options' ? name : `${where}.${name}`
}

/** A name as it would be written in code; anything stranger quoted, since it may be a value in the wrong place. */
function showName(name: string): string {
  return /^[A-Za-z_$][\w$]{0,39}$/.test(name) ? name : quoteInput(name)
}

/**
 * `did you mean "certificates"?`, `right would be tls.ca`, or all there are.
 * @param where the options object that the name stands in
 */
export function suggestOption(name: string, names: readonly string[], where = 'options'): string {
  const all = `there are: ${names.join(', ')}`
  if (name.length > 40) return all
  const word = name.toLowerCase()
  const lower = new Map(names.map((each) => [each.toLowerCase(), each]))
  const home = lower.has(word) ? undefined : homes.find(({ option, holds }) => names.includes(option) && holds.includes(word))
  if (home) return `right would be ${optionPath(where, home.option)}${home.inside(name)}`
  const [alike] = findAlike(word, [...lower.keys()], () => Math.max(word.length < 4 ? 1 : 2, word.length / 3))
  const found = alike ?? (word.length < 4 ? undefined : [...lower.keys()].find((each) => each.includes(word)))
  return found === undefined ? all : `did you mean ${JSON.stringify(lower.get(found))}?`
}

/** Names that are right one step further in, by the option that has them. */
const homes: ReadonlyArray<{ option: string; holds: readonly string[]; inside: (name: string) => string }> = [
  { option: 'tls', holds: ['ca', 'cert', 'key', 'pfx', 'passphrase', 'servername', 'minversion', 'maxversion', 'ciphers', 'ecdhcurve', 'sigalgs', 'clientcertificate', 'keyexchange'], inside: (name) => `.${name}` },
  { option: 'agent', holds: ['keepalive', 'keepalivemsecs', 'maxsockets', 'maxtotalsockets', 'maxfreesockets', 'maxcachedsessions', 'timeout', 'lookup'], inside: (name) => `.${name}` },
  { option: 'pins', holds: ['trust', 'expires', 'onexpiry', 'certificates', 'publickeys', 'authorities', 'rejected', 'includesubdomains'], inside: (name) => `: { 'api.example.com': { ${name} } }, for each host pattern by itself` }
]
