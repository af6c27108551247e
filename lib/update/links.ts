import type { PinSet } from './manifest.js'
import type { SigningTrust } from './trust.js'

/** A set that changed the signing keys, and what of it leads from the keys before it to those after it. */
export interface Link {
  readonly text: string
  /** Thumbprints of the trusted keys that have signed it; none where that is not known. */
  readonly signers: readonly string[]
  readonly named: readonly string[]
  readonly revoked: readonly string[]
}

export function linkOf({ text, signers, namedKeys, revokedKeys }: PinSet): Link {
  return { text, signers, named: namedKeys, revoked: revokedKeys }
}

/**
 * The links that are worth keeping: all while they are few; else without those that today's keys come about without, as for keys that a
 * release has since brought along, or that are named by a later set too.
 *
 * @param trust the keys in the code
 * @param last the set that is in force when all have been followed
 */
export function keepLinks(trust: SigningTrust, links: readonly Link[], last: Link): readonly Link[] {
  if (links.length <= fewLinks && lengthOf(links) <= fewCharacters) return links
  const goal = follow(trust, [...links, last])
  if (goal === undefined) return links
  let kept = links
  for (const link of links) {
    const fewer = kept.filter((each) => each !== link)
    if (follow(trust, [...fewer, last]) === goal) kept = fewer
  }
  return kept
}

/** Whether they are more than is stored: sets that change the signing keys are rare, and a release brings the new keys along. */
export function areTooMany(links: readonly Link[]): boolean {
  return links.length > maxLinks || lengthOf(links) > maxCharacters
}

function lengthOf(links: readonly Link[]): number {
  return links.reduce((length, { text }) => length + text.length, 0)
}

const fewLinks = 16
const fewCharacters = 8 * 1024 * 1024

const maxLinks = 256
const maxCharacters = 64 * 1024 * 1024

/** The signing keys that are trusted and revoked in the end, as one text; `undefined` when the last set would not be accepted. */
function follow(trust: SigningTrust, sets: readonly Link[]): string | undefined {
  const keys = new Set(trust.keys.keys())
  const revoked = new Set<string>()
  let accepted = false
  for (const { signers, named, revoked: withdrawn } of sets) {
    accepted = signers.filter((id) => keys.has(id)).length >= trust.threshold
    if (!accepted) continue
    for (const id of withdrawn) revoked.add(id)
    for (const id of named) keys.add(id)
    for (const id of revoked) keys.delete(id)
  }
  return accepted ? `${[...keys].sort().join(' ')}|${[...revoked].sort().join(' ')}` : undefined
}
