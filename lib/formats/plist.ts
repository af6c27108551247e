import { SourceError } from './source-document.js'
import type { Position } from './source-document.js'
import { escapeXml, parseXml } from './xml.js'
import type { XmlElement } from './xml.js'

/** A value of a property list, and where it stands. */
export interface PlistValue {
  readonly position: Position
  readonly value: string | boolean | number | readonly PlistValue[] | ReadonlyMap<string, PlistValue>
}

/**
 * Reads an XML property list. Apple's own DOCTYPE, which every such file has, is passed over; any other is refused.
 * @throws {SourceError}
 */
export function parsePlist(text: string): PlistValue {
  if (text.startsWith('bplist')) throw new SourceError({ line: 1, column: 1 }, 'it is a binary property list; right would be XML (plutil -convert xml1)')
  const root = parseXml(text, (doctype) => appleDoctype.test(doctype))
  if (root.name !== 'plist') throw new SourceError(root.position, `the top element is <${root.name}>; right would be <plist>`)
  const [content, more] = root.children
  if (content === undefined || more) throw new SourceError(root.position, 'a property list holds one value')
  return readValue(content)
}

/** Writes dictionaries, arrays, strings and booleans. */
export function formatPlist(value: unknown): string {
  const lines = (each: unknown, indent: string): string[] => {
    if (typeof each === 'boolean') return [`${indent}<${each}/>`]
    if (typeof each === 'string') return [`${indent}<string>${escapeXml(each)}</string>`]
    if (Array.isArray(each)) return [`${indent}<array>`, ...each.flatMap((item) => lines(item, `${indent}\t`)), `${indent}</array>`]
    return [`${indent}<dict>`, ...Object.entries(each as object).flatMap(([key, item]) => [`${indent}\t<key>${escapeXml(key)}</key>`, ...lines(item, `${indent}\t`)]), `${indent}</dict>`]
  }
  return ['<?xml version="1.0" encoding="UTF-8"?>', '<!DOCTYPE plist PUBLIC "-//Apple//DTD PLIST 1.0//EN" "http://www.apple.com/DTDs/PropertyList-1.0.dtd">', '<plist version="1.0">', ...lines(value, ''), '</plist>', ''].join('\n')
}

const appleDoctype = /^\s*plist\s+PUBLIC\s+(["'])-\/\/Apple(?: Computer)?\/\/DTD PLIST 1\.0\/\/EN\1\s+(["'])https?:\/\/www\.apple\.com\/DTDs\/PropertyList-1\.0\.dtd\2\s*$/

function readValue(element: XmlElement): PlistValue {
  const { name, text, children, position } = element
  switch (name) {
    case 'dict':
      return { position, value: readDict(element) }
    case 'array':
      return { position, value: children.map(readValue) }
    case 'true':
    case 'false':
      return { position, value: name === 'true' }
    case 'integer':
    case 'real':
      return { position, value: Number(text) }
    case 'string':
    case 'date':
    case 'data':
      if (children.length > 0) throw new SourceError(position, `<${name}> holds text only`)
      return { position, value: text.trim() }
    default:
      throw new SourceError(position, `<${name}> is no value of a property list`)
  }
}

function readDict({ children, position }: XmlElement): Map<string, PlistValue> {
  const dict = new Map<string, PlistValue>()
  for (let i = 0; i < children.length; i += 2) {
    const [key, value] = [children[i] as XmlElement, children[i + 1]]
    if (key.name !== 'key') throw new SourceError(key.position, `<${key.name}> in a <dict>; right would be <key>`)
    if (value === undefined) throw new SourceError(position, `the key ${JSON.stringify(key.text)} has no value`)
    if (dict.has(key.text)) throw new SourceError(key.position, `the key ${JSON.stringify(key.text)} is there twice`)
    dict.set(key.text, readValue(value))
  }
  return dict
}
