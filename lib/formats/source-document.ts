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
  demandShallowJson(text, at)
  const errors: ParseError[] = []
  const tree = parseTree(text, errors, { allowTrailingComma: true })
  const first = errors[0]
  if (first) throw new SourceError(at(first.offset), `this is not JSON: ${inWords(printParseErrorCode(first.error))}`)
  if (tree === undefined) throw new SourceError(at(0), 'there is no value in it')
  const value = valueOf(tree, at)
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
 * Reads one YAML 1.2 document of the core schema, without tags. Anchors and aliases are followed, a bounded number of times.
 * @throws {SourceError} for anything else: errors and warnings of the parser, a key that a map has twice, keys that are no strings
 */
export function readYaml(text: string): SourceDocument {
  const { LineCounter, parseDocument } = loadYaml()
  const lines = new LineCounter()
  const at = (offset: number): Position => {
    const { line, col } = lines.linePos(offset)
    return { line: Math.max(line, 1), column: Math.max(col, 1) }
  }
  demandPlainYaml(text, positions(text))
  const document = parseDocument(text, { version: '1.2', schema: 'core', strict: true, uniqueKeys: false, stringKeys: true, lineCounter: lines, prettyErrors: false, logLevel: 'error' })
  const problem = document.errors[0] ?? document.warnings[0]
  if (problem) throw new SourceError(at(problem.pos[0]), `this is not YAML 1.2: ${problem.message}`)
  checkKeys(document, at)
  return { value: followAliases(() => document.toJS({ maxAliasCount: 100 }) as unknown), locate: (path, what) => at(yamlOffset(document, path, what)) }
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

/**
 * The parsers call themselves for each level. Where the stack ends is not where they would notice: Node itself may end the
 * process there, and nothing can catch that. So the levels are counted first, by what does not call itself.
 */
const maxDepth = 100

function tooDeep(position: Position): SourceError {
  return new SourceError(position, 'it is nested too deeply')
}

/** @throws {SourceError} for more than {@link maxDepth} brackets in one another */
function demandShallowJson(text: string, at: (offset: number) => Position): void {
  const { createScanner } = loadJsonc()
  const scanner = createScanner(text, true)
  for (let depth = 0, token: number = scanner.scan(); token !== json.end; token = scanner.scan()) {
    if (token === json.openBrace || token === json.openBracket) depth++
    if (token === json.closeBrace || token === json.closeBracket) depth--
    if (depth > maxDepth) throw tooDeep(at(scanner.getTokenOffset()))
  }
}

// SyntaxKind of jsonc-parser, a const enum of its declarations.
const json = { openBrace: 1, closeBrace: 2, openBracket: 3, closeBracket: 4, end: 17 } as const

/**
 * Goes through a text as YAML's lexer cuts it. A block collection stands further to the right than the one that it is in, a
 * list in a map perhaps at the same column: so there are at most two for each column on the way. A flow collection has brackets.
 *
 * @throws {SourceError} for tags, and for more than {@link maxDepth} columns and brackets in one another
 */
function demandPlainYaml(text: string, at: (offset: number) => Position): void {
  const { CST, Lexer } = loadYaml()
  const columns: number[] = []
  let [offset, lineStart, flow, scalar] = [0, 0, 0, false]
  for (const token of new Lexer().lex(text)) {
    const type = scalar ? 'scalar' : CST.tokenType(token)
    // It is announced by a token that takes no place in the text, as do two others.
    scalar = token === CST.SCALAR && type === 'scalar' && !scalar
    if (scalar || type === 'doc-mode' || type === 'flow-error-end') continue
    if (type === 'tag') throw new SourceError(at(offset), 'YAML tags are not taken; right would be to write the value without')
    if (flow === 0 && type !== null && standsInBlock.has(type)) {
      const column = offset - lineStart
      while (columns.length > 0 && (columns.at(-1) as number) >= column) columns.pop()
      columns.push(column)
    }
    if (type === 'flow-map-start' || type === 'flow-seq-start') flow++
    else if ((type === 'flow-map-end' || type === 'flow-seq-end') && flow > 0) flow--
    if (columns.length + flow > maxDepth) throw tooDeep(at(offset))
    offset += token.length
    const lineBreak = token.lastIndexOf('\n')
    if (lineBreak !== -1) lineStart = offset - token.length + lineBreak + 1
  }
}

const standsInBlock = new Set(['single-quoted-scalar', 'double-quoted-scalar', 'seq-item-ind', 'explicit-key-ind', 'map-value-ind', 'scalar', 'alias', 'anchor', 'flow-map-start', 'flow-seq-start', 'block-scalar-header'])

function followAliases<T>(read: () => T): T {
  try {
    return read()
  } catch (error) {
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
    let [line, after] = [0, starts.length]
    while (after - line > 1) {
      const middle = (line + after) >> 1
      if ((starts[middle] as number) <= offset) line = middle
      else after = middle
    }
    return { line: line + 1, column: offset - (starts[line] as number) + 1 }
  }
}

/** `CommaExpected` to `comma expected`. */
function inWords(code: string): string {
  return code.replaceAll(/(?<=[a-z])(?=[A-Z])/g, ' ').toLowerCase()
}
