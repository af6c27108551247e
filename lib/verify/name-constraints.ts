import type { X509Certificate } from 'node:crypto'
import { readDer, readDerChildren, readOid } from '../pin/der.js'
import type { DerValue } from '../pin/der.js'
import { extensionOf, subjectOf } from './constraints.js'

/**
 * Whether the certificates below a CA bear no names but those that its name constraints allow (RFC 5280 §4.2.1.10), as
 * OpenSSL decides it (crypto/x509/v3_ncons.c): DNS names, IP addresses, and the leaf's common names where they could be
 * DNS names and it has no others.
 *
 * @param below leaf first
 * @returns `false` also for constraints on other forms of names, which are not evaluated here
 */
export function meetsNameConstraints(issuer: X509Certificate, below: readonly X509Certificate[]): boolean {
  try {
    const { permitted, excluded } = readSubtrees(issuer)
    const names = below.flatMap((certificate, depth) => [...readNames(certificate), ...(depth === 0 ? readCommonNames(certificate) : [])])
    if (names.length * (permitted.length + excluded.length) > maxComparisons) return false
    return names.every((name) => isPermitted(name, permitted) && !excluded.some((base) => isWithin(name, base)))
  } catch (error) {
    if (error instanceof RangeError) return false
    throw error
  }
}

const maxComparisons = 2 ** 16
const form = { dns: 0x82, ip: 0x87 } as const
const permittedTag = 0xa0
const excludedTag = 0xa1

/** A GeneralName: a DNS name or an IP address; as the base of a subtree an address and its mask. */
type Name = Pick<DerValue, 'tag' | 'content'>

/** SEQUENCE { permittedSubtrees [0], excludedSubtrees [1] }, each of SEQUENCE { base, minimum, maximum }; the last two are of no use. */
function readSubtrees(issuer: X509Certificate): { permitted: Name[]; excluded: Name[] } {
  const lists = readDerChildren(readDer(extensionOf(issuer, '2.5.29.30') ?? Buffer.alloc(0)))
  const bases = (wanted: number): Name[] => lists.filter(({ tag }) => tag === wanted).flatMap(readDerChildren).map((subtree) => {
    const [base, ...rest] = readDerChildren(subtree)
    if (base === undefined || rest.length > 0 || !(base.tag === form.dns || (base.tag === form.ip && [8, 32].includes(base.content.length)))) throw new RangeError('a subtree that is not evaluated here')
    return base
  })
  return { permitted: bases(permittedTag), excluded: bases(excludedTag) }
}

function readNames(certificate: X509Certificate): Name[] {
  const value = extensionOf(certificate, '2.5.29.17')
  const names = value === undefined ? [] : readDerChildren(readDer(value)).filter(({ tag }) => tag === form.dns || tag === form.ip)
  if (names.some(({ tag, content }) => tag === form.ip && ![4, 16].includes(content.length))) throw new RangeError('no IP address')
  return names
}

/** The common names that a client might take for a host's, since there is no DNS name. */
function readCommonNames(leaf: X509Certificate): Name[] {
  if (readNames(leaf).some(({ tag }) => tag === form.dns)) return []
  const attributes = readDerChildren(subjectOf(leaf)).flatMap(readDerChildren).map(readDerChildren)
  return attributes.flatMap(([id, value]) => {
    if (id === undefined || value === undefined || readOid(id) !== '2.5.4.3') return []
    const text = value.content.toString('latin1').replace(/\0+$/, '')
    // A NUL, or two or four octets a character, which OpenSSL would convert.
    if (text.includes('\0')) throw new RangeError('a common name that is not evaluated here')
    return /^[\w.-]+$/.test(text) && text.includes('.') ? [{ tag: form.dns, content: Buffer.from(text, 'latin1') }] : []
  })
}

function isPermitted(name: Name, permitted: readonly Name[]): boolean {
  const bases = permitted.filter(({ tag }) => tag === name.tag)
  return bases.length === 0 || bases.some((base) => isWithin(name, base))
}

function isWithin(name: Name, base: Name): boolean {
  if (name.tag !== base.tag) return false
  return name.tag === form.ip ? isAddressWithin(name.content, base.content) : isHostWithin(lowerCase(name), lowerCase(base))
}

/** `example.com` is within `example.com` and `com`; only what is below it is within `.example.com`. */
function isHostWithin(host: string, base: string): boolean {
  if (!host.endsWith(base)) return false
  return base === '' || host.length === base.length || base.startsWith('.') || host.at(-1 - base.length) === '.'
}

function isAddressWithin(address: Buffer, range: Buffer): boolean {
  if (range.length !== 2 * address.length) return false
  return address.every((octet, i) => ((octet ^ (range[i] as number)) & (range[address.length + i] as number)) === 0)
}

function lowerCase({ content }: Name): string {
  return content.toString('latin1').replaceAll(/[A-Z]+/g, (letters) => letters.toLowerCase())
}
