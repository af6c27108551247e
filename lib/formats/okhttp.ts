import { parseHostPattern } from '../pin/hostname.js'
import type { HostPattern } from '../pin/hostname.js'
import { parsePin } from '../pin/pin.js'
import type { HostPolicy } from '../policy/policy.js'
import type { PolicyOptions } from '../policy/policy-set.js'
import { atPlace, sayable, unpinnedNote, widerAmong } from './foreign.js'
import type { Abilities, ReadPins, WrittenPins } from './foreign.js'
import { SourceError, positions } from './source-document.js'
import type { Position } from './source-document.js'

/**
 * Reads the `.add("pattern", "sha256/…", …)` calls of OkHttp's `CertificatePinner.Builder` out of Kotlin or Java. Only
 * literal strings can be read; a call with anything else is noted. In OkHttp the pins of every pattern that fits a host
 * count, here only those of the most specific: so the wider pattern's pins are added to the narrower's.
 * https://square.github.io/okhttp/5.x/okhttp/okhttp3/-certificate-pinner/
 *
 * @throws {SourceError} when there is no such call, or a pin is none
 */
export function parseOkHttp(text: string): ReadPins {
  const notes: string[] = [unpinnedNote(system)]
  const found = new Map<string, Set<string>>()
  for (const { line, column, parts } of addCalls(text)) {
    const position = { line, column }
    const [name, ...pins] = parts
    if (!parts.slice(1).some((each) => each === undefined || /^sha/.test(each))) continue
    if (name === undefined || pins.includes(undefined)) {
      notes.push(`line ${line}: .add(${name === undefined ? '…' : JSON.stringify(name)}, …) has arguments that are no literal strings; left out`)
      continue
    }
    const pattern = atPlace(position, () => parseHostPattern(name, 'pattern')).text
    const set = found.get(pattern) ?? new Set<string>()
    for (const pin of pins as string[]) {
      if (pin.startsWith('sha1/')) notes.push(`line ${line}: ${pattern}: a sha1/ pin is of no use here; left out`)
      else set.add(atPlace(position, () => parsePin(pin).text))
    }
    if (set.size > 0) found.set(pattern, set)
  }
  if (found.size === 0) throw new SourceError({ line: 1, column: 1 }, `there is no call .add("host", "sha256/…") in it that could be read${notes.length > 1 ? ` (${notes.slice(1).join('; ')})` : ''}`)
  return { policy: { pins: withWider(found) }, notes }
}

/** Writes the builder's calls, in Kotlin or Java. */
export function formatOkHttp(policy: PolicyOptions, language: 'kotlin' | 'java'): WrittenPins {
  const { hosts, notes } = sayable(policy, abilities)
  const adds = hosts.map(({ pattern, pins, includeSubDomains }) => {
    const name = includeSubDomains ? `**.${pattern.host}` : pattern.text
    return `    .add(${[name, ...pins].map((each) => JSON.stringify(each)).join(', ')})`
  })
  const text = language === 'kotlin' ? ['val certificatePinner = CertificatePinner.Builder()', ...adds, '    .build()'] : ['CertificatePinner certificatePinner = new CertificatePinner.Builder()', ...adds, '    .build();']
  return { text: `${text.join('\n')}\n`, notes }
}

const system = 'OkHttp'
const abilities: Abilities = { system, pinsCount: 'chain', ports: false, patterns: 'okhttp', oneHost: false, modes: ['enforce'], expiry: false, refusesUnpinned: false }

function withWider(found: ReadonlyMap<string, ReadonlySet<string>>): Record<string, readonly string[] | HostPolicy> {
  const patterns = [...found].map(([name, pins]) => ({ name, pins, pattern: parseHostPattern(name, 'pattern'), includeSubDomains: false }))
  const wider = widerAmong(patterns)
  const all = new Map<string, readonly string[]>()
  const add = (name: string, { host }: HostPattern, wildcard: HostPattern['wildcard'], pins: Iterable<string> = []): void => void all.set(name, [...new Set([...pins, ...wider(host, wildcard).flatMap((each) => [...each.pins])])])
  for (const { name, pins, pattern } of patterns) {
    add(name, pattern, pattern.wildcard, pins)
    // Its own name may be one of a pattern for one label as well, which does not cover what is below it.
    if (pattern.wildcard === 'any' && !found.has(pattern.host) && wider(pattern.host, 'exact').some((each) => each.pattern.wildcard === 'one')) add(pattern.host, pattern, 'exact')
  }
  return Object.fromEntries(all)
}

interface AddCall extends Position {
  /** The arguments: a literal string, or `undefined` for anything else. */
  readonly parts: ReadonlyArray<string | undefined>
}

/** Every `.add(…)`; comments are passed over, strings are read as Kotlin and Java write them. */
function addCalls(text: string): AddCall[] {
  const tokens = [...text.matchAll(tokenPattern)].filter(([token]) => !/^(?:\/\/|\/\*|\s)/.test(token)).map((match) => ({ text: match[0], index: match.index }))
  const at = positions(text)
  const texts = tokens.map(({ text }) => text)
  const calls: AddCall[] = []
  for (let i = 0; i + 2 < tokens.length; i++) {
    if (tokens[i]?.text !== '.' || tokens[i + 1]?.text !== 'add' || tokens[i + 2]?.text !== '(') continue
    const position = at((tokens[i + 1] as { index: number }).index)
    calls.push({ ...position, parts: readArguments(texts, i + 3) })
    if (calls.length > maxCalls) throw new SourceError(position, `it has more than ${maxCalls} calls .add()`)
  }
  return calls
}

// A string that is never closed is a token all the same, else what is left would be searched again from each quote in it.
const tokenPattern = /\/\/[^\n]*|\/\*[^]*?(?:\*\/|$)|\s+|"""[^]*?"""|"(?:[^"\\\n]|\\.)*"?|'(?:[^'\\\n]|\\.){1,12}'|[A-Za-z_]\w*|[^]/g

function readArguments(tokens: readonly string[], from: number): Array<string | undefined> {
  const parts: Array<string | undefined> = []
  let current: string[] = []
  for (let i = from, depth = 0; i < tokens.length && i < from + maxTokens; i++) {
    const token = tokens[i] as string
    if (depth === 0 && (token === ',' || token === ')')) {
      if (current.length > 0) parts.push(current.length === 1 ? literal(current[0] as string) : undefined)
      if (token === ')') return parts
      current = []
      continue
    }
    if ('([{'.includes(token)) depth++
    if (')]}'.includes(token)) depth--
    current.push(token)
  }
  return parts
}

const maxCalls = 10_000

// What stands open is not followed to the end of the file, for each of very many calls.
const maxTokens = 500

/** `undefined` for what is no plain string: Kotlin's templates included. */
function literal(token: string): string | undefined {
  if (token.startsWith('"""')) return token.includes('$') ? undefined : token.slice(3, -3)
  if (!token.startsWith('"') || /(?<!\\)\$[A-Za-z_{]/.test(token)) return undefined
  try {
    return JSON.parse(token.replaceAll('\\$', '$').replaceAll("\\'", "'")) as string
  } catch {
    return undefined
  }
}
