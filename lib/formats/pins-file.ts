import type { ErrorObject, ValidateFunction } from 'ajv'
import { PinInvalidError, PinsFileInvalidError, PolicyInvalidError } from '../errors.js'
import { parseHostPattern } from '../pin/hostname.js'
import { describeType, parsePin, quoteInput } from '../pin/pin.js'
import { readInstant, suggestOption } from '../policy/options.js'
import { parsePolicy } from '../policy/policy.js'
import { PolicySet } from '../policy/policy-set.js'
import type { PolicyOptions } from '../policy/policy-set.js'
import { loadAjv } from '../late.cjs'
import { pinsSchema } from './pins-schema.js'
import { SourceError, readJson, readYaml } from './source-document.js'
import type { Path, SourceDocument } from './source-document.js'
import { pathOf, readTextFile } from './text-file.js'

/** How pins change; what `axios-ssl-pinning renewal` goes by. */
export interface PinsRefresh {
  /** How long it takes until a change of the file has reached every client, in milliseconds. */
  spreadMs?: number
  /** How long a pin is kept after its key was replaced, in milliseconds. */
  graceMs?: number
  /** What is known of each host pattern's keys. */
  hosts?: Readonly<Record<string, PinsRotation>>
}

/** How far the change of one host's key has come. */
export interface PinsRotation {
  /** The pin of the key that the server uses. */
  inUse?: string
  /** When a pin was added, by pin. One that is not listed counts as known to every client. */
  announced?: Readonly<Record<string, string>>
  /** When the key of a pin was replaced, by pin. */
  retired?: Readonly<Record<string, string>>
}

/** A pins file after reading: nothing in it can be wrong. */
export interface PinsFile {
  /** What `pinAxios` takes. */
  readonly policy: PolicyOptions
  readonly refresh: PinsRefresh
  readonly syntax: 'json' | 'yaml'
}

/** What `loadPins` reads, with what the file says beside the policy; throws as that does. */
export function readPinsFile(path: string | URL): PinsFile {
  const name = pathOf(path, 'pinsFile')
  return parsePinsFile(readTextFile(name, maxPinsBytes, 'pinsFile'), name)
}

/**
 * @param name of the file, for error texts; its ending tells JSON (`.json`, `.jsonc`) from YAML (`.yaml`, `.yml`), else its
 * first character does
 * @throws {PinsFileInvalidError}
 */
export function parsePinsFile(text: string, name: string): PinsFile {
  const syntax = syntaxOf(text, name)
  try {
    const source = syntax === 'json' ? readJson(text) : readYaml(text)
    const fail = (problems: readonly Problem[]): never => {
      throw new PinsFileInvalidError(name, problems.slice(0, maxProblems).map(({ path, at, reason }) => ({ ...source.locate(path, at), path: showPath(path), reason })))
    }
    const misshapen = checkShape(source, text.length <= fullCheckLength)
    if (misshapen.length > 0) fail(misshapen)
    const { $schema: _, refresh = {}, ...policy } = source.value as PolicyOptions & { $schema?: string; refresh?: PinsRefresh }
    const wrong = [...checkPolicies(policy), ...checkRefresh(refresh)]
    if (wrong.length > 0) fail(wrong)
    const unfit = checkWhole(policy)
    if (unfit) fail([unfit])
    return { policy, refresh, syntax }
  } catch (error) {
    if (!(error instanceof SourceError)) throw error
    throw new PinsFileInvalidError(name, [{ ...error.position, path: '', reason: error.reason }])
  }
}

/**
 * The options with the file's contents in the place of `pinsFile`. What is said in the program as well beats the file;
 * pins can only be in one of them.
 */
export function withPinsFile<T extends Omit<PolicyOptions, 'mode'>>(options: T & { pinsFile: string | URL }): T {
  const { pinsFile, ...given } = options
  for (const name of ['pins', 'allowedSHAFingerprints'] as const) {
    if (options[name] !== undefined) throw new PolicyInvalidError(name, 'the pins come from pinsFile; write them in one place')
  }
  const said = Object.fromEntries(Object.entries(given).filter(([, value]) => value !== undefined))
  return { ...readPinsFile(pinsFile).policy, ...said } as T
}

const maxPinsBytes = 8 * 1024 * 1024

// In a larger file only the first misshapen value is told: collecting all takes ajv time that grows with their square.
const fullCheckLength = 128 * 1024

// To find the line of each costs a walk through the file.
const maxProblems = 100

interface Problem {
  readonly path: Path
  readonly at?: 'key' | 'value'
  readonly reason: string
}

function syntaxOf(text: string, name: string): 'json' | 'yaml' {
  if (/\.jsonc?$/i.test(name)) return 'json'
  if (/\.ya?ml$/i.test(name)) return 'yaml'
  return /^\s*(?:\{|\/[/*])/.test(text) ? 'json' : 'yaml'
}

const validators = new Map<boolean, ValidateFunction>()

function checkShape({ value }: SourceDocument, allErrors: boolean): Problem[] {
  const validate = validators.get(allErrors) ?? new (loadAjv().Ajv2020)({ allErrors, allowUnionTypes: true, verbose: true }).compile(pinsSchema)
  validators.set(allErrors, validate)
  return validate(value) ? [] : (validate.errors ?? []).map((error) => describeShape(error, value))
}

/** ajv's errors in the words of the options' own. */
function describeShape({ keyword, instancePath, params, data, parentSchema, message }: ErrorObject, whole: unknown): Problem {
  const path = pathOfPointer(instancePath, whole)
  const shown = typeof data === 'string' ? quoteInput(data) : typeof data === 'number' || typeof data === 'boolean' ? String(data) : describeType(data)
  switch (keyword) {
    case 'additionalProperties': {
      const { additionalProperty: name } = params as { additionalProperty: string }
      if (path.length === 0 && programOptions.includes(name)) return { path: [name], at: 'key', reason: 'a file cannot say this; right would be to give it to pinAxios beside pinsFile' }
      return { path: [...path, name], at: 'key', reason: `there is no such option; ${suggestOption(name, Object.keys((parentSchema as { properties: object }).properties))}` }
    }
    case 'enum':
      return { path, reason: `${shown} is not possible; right would be ${(params as { allowedValues: string[] }).allowedValues.map((each) => `'${each}'`).join(' or ')}` }
    case 'type': {
      const right = { array: 'an array of strings', 'array,object': 'an array of pins or an object', object: 'an object', string: 'a string', boolean: 'true or false', integer: 'a whole number' }[String((params as { type: unknown }).type)]
      return { path, reason: `must be ${right}, not ${typeof data === 'number' ? shown : describeType(data)}` }
    }
    default:
      return { path, reason: `${shown} ${message}` }
  }
}

// Options of pinAxios that hold functions, secrets or settings of the process.
const programOptions = ['onValidCertificate', 'onBadCertificate', 'onExpiring', 'expiryWarningDays', 'logger', 'tls', 'agent', 'proxy', 'pinsFile']

/** JSON Pointer (RFC 6901) as a path: in an array the parts are indices. */
function pathOfPointer(pointer: string, whole: unknown): Path {
  let value = whole
  return pointer.split('/').slice(1).map((part) => {
    const key = Array.isArray(value) ? Number(part) : part.replaceAll('~1', '/').replaceAll('~0', '~')
    value = (value as Record<string | number, unknown>)[key]
    return key
  })
}

/** Each pattern and each pin by itself, so that every problem has its own line. */
function checkPolicies({ pins = {}, allowedSHAFingerprints = [] }: PolicyOptions): Problem[] {
  const problems = checkPins(allowedSHAFingerprints, ['allowedSHAFingerprints'])
  for (const [pattern, policy] of Object.entries(pins)) {
    const path = ['pins', pattern]
    const lists = Array.isArray(policy) ? checkPins(policy, path) : ['certificates', 'publicKeys', 'pins', 'rejected'].flatMap((name) => checkPins((policy as Record<string, string[] | undefined>)[name] ?? [], [...path, name]))
    const found = [
      ...attempt(path, 'key', () => parseHostPattern(pattern, 'pins')),
      // What is wrong with the policy as a whole, if its pins are pins.
      ...(lists.length > 0 ? lists : attempt(path, 'key', () => parsePolicy(pattern, policy, where(pattern))))
    ]
    problems.push(...found)
  }
  return problems
}

function checkPins(list: readonly string[], path: Path): Problem[] {
  return list.flatMap((text, index) => attempt([...path, index], 'value', () => parsePin(text)))
}

function checkRefresh({ hosts = {} }: PinsRefresh): Problem[] {
  return Object.entries(hosts).flatMap(([pattern, { inUse, ...lists }]) => [
    ...(inUse === undefined ? [] : attempt(['refresh', 'hosts', pattern, 'inUse'], 'value', () => parsePin(inUse))),
    ...(['announced', 'retired'] as const).flatMap((name) =>
      Object.entries(lists[name] ?? {}).flatMap(([pin, instant]) => {
        const path = ['refresh', 'hosts', pattern, name, pin]
        return [...attempt(path, 'key', () => parsePin(pin)), ...attempt(path, 'value', () => readInstant(instant, pin))]
      })
    )
  ])
}

/** What only the policies together can be wrong about: two patterns for the same hosts, no pins at all. */
function checkWhole(policy: PolicyOptions): Problem | undefined {
  return attempt([], 'value', () => new PolicySet(policy, 1)).map((problem) => {
    const pattern = Object.keys(policy.pins ?? {}).find((each) => problem.reason.startsWith(where(each)))
    return pattern === undefined ? problem : { ...problem, path: ['pins', pattern], at: 'key' as const, reason: problem.reason.slice(where(pattern).length + 2) }
  })[0]
}

function attempt(path: Path, at: 'key' | 'value', read: () => unknown): Problem[] {
  try {
    read()
    return []
  } catch (error) {
    return [refine(path, at, error as Error)]
  }
}

/** `pins["api.example.com"].expires: …` belongs to that line, not to the one of the pattern. */
function refine(path: Path, at: 'key' | 'value', error: Error): Problem {
  if (error instanceof PinInvalidError) return { path, at, reason: error.message }
  if (!(error instanceof PolicyInvalidError)) return { path, at, reason: error.message }
  const [, name] = /\]\.(\w+)$/.exec(error.option) ?? []
  return name === undefined ? { path, at, reason: path.length > 0 ? error.reason : error.message } : { path: [...path, name], at: 'value', reason: error.reason }
}

function where(pattern: string): string {
  return `pins[${quoteInput(pattern)}]`
}

/** `pins["api.example.com"].certificates[0]` */
function showPath(path: Path): string {
  return path.map((part, index) => (typeof part === 'number' ? `[${part}]` : index === 0 ? showKey(part) : /^[A-Za-z_$][\w$]{0,39}$/.test(part) ? `.${part}` : `[${quoteInput(part)}]`)).join('')
}

function showKey(key: string): string {
  return /^[A-Za-z_$][\w$]{0,39}$/.test(key) ? key : quoteInput(key)
}
