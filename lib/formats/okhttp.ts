import { parseHostPattern } from '../pin/hostname.js'
import { parsePin } from '../pin/pin.js'
import type { HostPolicy } from '../policy/policy.js'
import type { PolicyOptions } from '../policy/policy-set.js'
import { atPlace, overlaps, sayable, unpinnedNote } from './foreign.js'
import type { Abilities, ReadPins, WrittenPins } from './foreign.js'
import { SourceError } from './source-document.js'
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
const abilities: Abilities = { system, pinsCount: 'chain', ports: false, patterns: 'okhttp', modes: ['enforce'], expiry: false, refusesUnpinned: false }

function withWider(found: ReadonlyMap<string, ReadonlySet<string>>): Record<string, readonly string[] | HostPolicy> {
  const patterns = [...found].map(([text, pins]) => ({ text, pins, pattern: parseHostPattern(text, 'pattern') }))
  return Object.fromEntries(
    patterns.map(({ text, pins, pattern }) => {
      const wider = patterns.filter((each) => each.text !== text && overlaps(each.pattern, pattern))
      return [text, [...new Set([...pins, ...wider.flatMap((each) => [...each.pins])])]]
    })
  )
}

interface AddCall extends Position {
  /** The arguments: a literal string, or `undefined` for anything else. */
  readonly parts: ReadonlyArray<string | undefined>
}

/** Every `.add(…)`; comments are passed over, strings are read as Kotlin and Java write them. */
function addCalls(text: string): AddCall[] {
  const tokens = [...text.matchAll(tokenPattern)].filter(([token]) => !/^(?:\/\/|\/\*|\s)/.test(token)).map((match) => ({ text: match[0], index: match.index }))
  const lineStarts = [0, ...[...text.matchAll(/\n/g)].map(({ index }) => index + 1)]
  const texts = tokens.map(({ text }) => text)
  const calls: AddCall[] = []
  for (let i = 0; i + 2 < tokens.length; i++) {
    if (tokens[i]?.text !== '.' || tokens[i + 1]?.text !== 'add' || tokens[i + 2]?.text !== '(') continue
    const { index } = tokens[i + 1] as { index: number }
    const line = lineStarts.findLastIndex((start) => start <= index)
    calls.push({ line: line + 1, column: index - (lineStarts[line] as number) + 1, parts: readArguments(texts, i + 3) })
    if (calls.length > maxCalls) throw new SourceError({ line: line + 1, column: 1 }, `it has more than ${maxCalls} calls .add()`)
  }
  return calls
}

const tokenPattern = /\/\/[^\n]*|\/\*[^]*?(?:\*\/|$)|\s+|"""[^]*?"""|"(?:[^"\\\n]|\\.)*"|'(?:[^'\\\n]|\\.)*'|[A-Za-z_]\w*|[^]/g

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
