import type { Document } from 'yaml'
import { PolicyInvalidError } from '../errors.js'
import { loadJsonc, loadYaml } from '../late.cjs'
import { parsePinsFile } from './pins-file.js'
import type { PinsFile } from './pins-file.js'

/** One change of a pins file: sets a value (`undefined` removes it), or appends to a list. */
export interface PinsEdit {
  readonly path: ReadonlyArray<string | number>
  readonly value?: unknown
  readonly append?: string
}

/**
 * Changes the text of a pins file, its comments and order kept. The result is read again: an edit never makes a file that
 * cannot be used.
 *
 * @throws {PolicyInvalidError | PinsFileInvalidError}
 */
export function editPins(text: string, name: string, syntax: PinsFile['syntax'], edits: readonly PinsEdit[]): string {
  const edited = syntax === 'json' ? editJson(text, edits) : editYaml(text, edits)
  parsePinsFile(edited, name)
  return edited
}

function editJson(text: string, edits: readonly PinsEdit[]): string {
  const { applyEdits, modify } = loadJsonc()
  const indent = /^([ \t]+)\S/m.exec(text)?.[1] ?? '  '
  const formattingOptions = { insertSpaces: !indent.includes('\t'), tabSize: indent.includes('\t') ? 1 : indent.length, eol: text.includes('\r\n') ? '\r\n' : '\n' }
  return edits.reduce((current, { path, value, append }) => {
    const change = append === undefined ? modify(current, [...path], value, { formattingOptions }) : modify(current, [...path, -1], append, { formattingOptions, isArrayInsertion: true })
    return applyEdits(current, change)
  }, text)
}

function editYaml(text: string, edits: readonly PinsEdit[]): string {
  const document = loadYaml().parseDocument(text, { version: '1.2', schema: 'core', uniqueKeys: false, logLevel: 'error' })
  for (const { path, value, append } of edits) {
    demandOwn(document, path)
    if (append !== undefined) document.addIn(path, append)
    else if (value === undefined) document.deleteIn(path)
    else document.setIn(path, document.createNode(value))
  }
  return document.toString({ lineWidth: 0, flowCollectionPadding: /[[{] /.test(text) })
}

/** A list that stands somewhere else belongs to other hosts as well. */
function demandOwn(document: Document.Parsed, path: PinsEdit['path']): void {
  const { isAlias } = loadYaml()
  for (let length = 1; length <= path.length; length++) {
    if (isAlias(document.getIn(path.slice(0, length), true))) throw new PolicyInvalidError(path.slice(0, length).join('.'), 'it is an alias, and changing it would change other hosts too; right would be to write it out')
  }
}
