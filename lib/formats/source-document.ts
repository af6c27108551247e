import type { Node as JsonNode, ParseError } from 'jsonc-parser'
import type { Document, Pair, Scalar } from 'yaml'
import { quoteInput } from '../pin/pin.js'
import { loadJsonc, loadYaml } from '../late.cjs'

/** How to get from the top of a document to a value: keys and indices. */
export type Path = ReadonlyArray<string | number>

/** Both count from 1; columns in UTF-16 units, as editors do. */
export interface Position {
  readonly line: number
  readonly column: number
}

/** A parsed JSON or YAML text that still knows where everything stood. */
export interface SourceDocument {
  readonly value: unknown
  /** Where a value stands, or the key in front of it; where that is unknown, what it is a part of. */
  locate(path: Path, what?: 'key' | 'value'): Position
}

/** A text that cannot be read, and where. */
export class SourceError extends Error {
  constructor(readonly position: Position, readonly reason: string) {
    super(reason)
  }
}

/**
 * Reads JSON with comments and trailing commas.
 * @throws {SourceError} for anything else, and for a key that an object has twice: parsers differ in which one counts
 */
export function readJson(text: string): SourceDocument {
  const { findNodeAtLocation, parseTree, printParseErrorCode } = loadJsonc()
  const at = positions(text)
  const errors: ParseError[] = []
  const tree = guardDepth(() => parseTree(text, errors, { allowTrailingComma: true }))
  const first = errors[0]
  if (first) throw new SourceError(at(first.offset), `this is not JSON: ${inWords(printParseErrorCode(first.error))}`)
  if (tree === undefined) throw new SourceError(at(0), 'there is no value in it')
  const value = guardDepth(() => valueOf(tree, at))
  return {
    value,
    locate(path, what = 'value') {
      for (let length = path.length; length > 0; length--) {
        const node = findNodeAtLocation(tree, [...path.slice(0, length)])
        if (node === undefined) continue
        const key = node.parent?.type === 'property' && what === 'key' && length === path.length ? node.parent : node
        return at(key.offset)
      }
      return at(tree.offset)
    }
  }
}

/**
 * Reads one YAML 1.2 document of the core schema. Anchors and aliases are followed, a bounded number of times.
 * @throws {SourceError} for anything else: errors and warnings of the parser, a key that a map has twice, keys that are no strings
 */
export function readYaml(text: string): SourceDocument {
  const { LineCounter, parseDocument } = loadYaml()
  const lines = new LineCounter()
  const at = (offset: number): Position => {
    const { line, col } = lines.linePos(offset)
    return { line: Math.max(line, 1), column: Math.max(col, 1) }
  }
  const document = guardDepth(() => parseDocument(text, { version: '1.2', schema: 'core', strict: true, uniqueKeys: false, stringKeys: true, lineCounter: lines, prettyErrors: false, logLevel: 'error' }))
  const problem = document.errors[0] ?? document.warnings[0]
  if (problem) throw new SourceError(at(problem.pos[0]), `this is not YAML 1.2: ${problem.message}`)
  guardDepth(() => checkKeys(document, at))
  return { value: guardDepth(() => document.toJS({ maxAliasCount: 100 }) as unknown), locate: (path, what) => at(yamlOffset(document, path, what)) }
}

/** The parser's own check compares every key with every other. */
function checkKeys(document: Document.Parsed, at: (offset: number) => Position): void {
  loadYaml().visit(document, {
    Map(_, { items }) {
      const names = new Set<string>()
      for (const { key } of items) {
        const { value, range } = key as Scalar<string>
        if (names.has(value)) throw twice(value, at(range?.[0] ?? 0))
        names.add(value)
      }
    }
  })
}

function yamlOffset(document: Document.Parsed, path: Path, what: 'key' | 'value' = 'value'): number {
  for (let length = path.length; length > 0; length--) {
    const node = document.getIn(path.slice(0, length), true) as { range?: [number, number, number] } | undefined
    const holder = document.getIn(path.slice(0, length - 1), true) as { items?: Array<Partial<Pair>> } | undefined
    const named = holder?.items?.find(({ key }) => (key as { value?: unknown } | undefined)?.value === path[length - 1])
    const found = what === 'key' && length === path.length && named ? (named.key as typeof node) : node
    if (found?.range) return found.range[0]
  }
  return document.contents?.range[0] ?? 0
}

/** As plain values, objects without a prototype. */
function valueOf(node: JsonNode, at: (offset: number) => Position): unknown {
  if (node.type === 'array') return (node.children ?? []).map((child) => valueOf(child, at))
  if (node.type !== 'object') return node.value
  const object = Object.create(null) as Record<string, unknown>
  for (const { children } of node.children ?? []) {
    const [key, value] = children as [JsonNode, JsonNode]
    const name = key.value as string
    if (Object.hasOwn(object, name)) throw twice(name, at(key.offset))
    object[name] = valueOf(value, at)
  }
  return object
}

/** The parsers call themselves for each level; running out of stack is their way to say that there are too many. */
function guardDepth<T>(read: () => T): T {
  try {
    return read()
  } catch (error) {
    if (error instanceof RangeError) throw new SourceError({ line: 1, column: 1 }, 'it is nested too deeply')
    if (error instanceof ReferenceError) throw new SourceError({ line: 1, column: 1 }, `its aliases cannot be followed: ${error.message}`)
    throw error
  }
}

function twice(key: string, position: Position): SourceError {
  return new SourceError(position, `the key ${quoteInput(key)} is there twice`)
}

/** Line and column of an offset into a text. */
export function positions(text: string): (offset: number) => Position {
  let starts: number[] | undefined
  return (offset) => {
    starts ??= [0, ...[...text.matchAll(/\n/g)].map(({ index }) => index + 1)]
    const line = starts.findLastIndex((start) => start <= offset)
    return { line: line + 1, column: offset - (starts[line] as number) + 1 }
  }
}

/** `CommaExpected` to `comma expected`. */
function inWords(code: string): string {
  return code.replaceAll(/(?<=[a-z])(?=[A-Z])/g, ' ').toLowerCase()
}
