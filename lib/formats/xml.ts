import { loadSaxes } from '../late.cjs'
import { SourceError, positions } from './source-document.js'
import type { Position } from './source-document.js'

/** An element of an XML document. */
export interface XmlElement {
  readonly name: string
  readonly attributes: Readonly<Record<string, string>>
  readonly children: readonly XmlElement[]
  /** Its own text, without that of its children. */
  readonly text: string
  readonly position: Position
}

/**
 * Reads an XML document. There are no entities but XML's own five, and nothing is ever fetched: a DOCTYPE, where entities
 * could be defined, is refused.
 *
 * @param allowDoctype for formats whose files have a fixed one, without definitions of its own
 * @throws {SourceError} for what is not well-formed, has a DOCTYPE, or is nested more than 100 deep
 */
export function parseXml(text: string, allowDoctype?: (doctype: string) => boolean): XmlElement {
  const { SaxesParser } = loadSaxes()
  const parser = new SaxesParser({ position: true })
  const positionOf = positions(text)
  const at = (): Position => positionOf(Math.max(parser.position - 1, 0))
  const open: Building[] = []
  let root: XmlElement | undefined
  parser.on('error', (error) => {
    throw new SourceError(at(), `this is not XML: ${error.message.replace(/^\d+:\d+: /, '')}`)
  })
  parser.on('doctype', (doctype) => {
    if (allowDoctype?.(doctype) !== true) throw new SourceError(at(), 'a DOCTYPE is refused: it could define entities; right would be to remove it')
  })
  // It has read the name and the character after it.
  parser.on('opentagstart', ({ name }) => void (started = positionOf(Math.max(parser.position - name.length - 2, 0))))
  let started: Position = { line: 1, column: 1 }
  parser.on('opentag', ({ name, attributes }) => {
    if (open.length >= maxDepth) throw new SourceError(started, 'it is nested too deeply')
    open.push({ name, attributes: { ...attributes } as Record<string, string>, children: [], text: '', position: started })
  })
  const append = (more: string): void => {
    const current = open.at(-1)
    if (current) current.text += more
  }
  parser.on('text', append)
  parser.on('cdata', append)
  parser.on('closetag', () => {
    const element = open.pop() as Building
    const parent = open.at(-1)
    if (parent) parent.children.push(element)
    else root = element
  })
  parser.write(text).close()
  if (root === undefined) throw new SourceError(at(), 'there is no element in it')
  return root
}

/** A text as XML's content or attribute value. */
export function escapeXml(text: string): string {
  return text.replaceAll('&', '&amp;').replaceAll('<', '&lt;').replaceAll('>', '&gt;').replaceAll('"', '&quot;')
}

interface Building {
  name: string
  attributes: Record<string, string>
  children: XmlElement[]
  text: string
  position: Position
}

const maxDepth = 100
