import { areTooMany, keepLinks } from '../../lib/update/links.js'
import type { Link } from '../../lib/update/links.js'
import { SigningTrust } from '../../lib/update/trust.js'
import { createSigner } from '../support/pin-sets.js'

const [alice, bob] = [createSigner(), createSigner()]
const trust = SigningTrust.of([alice.publicKey])

function link(signer: string, named: string[] = [], revoked: string[] = []): Link {
  return { text: `${signer} names ${named.join()} and revokes ${revoked.join()}`, signers: [signer], named, revoked }
}

/** Each key names the next one, which revokes it. */
function chain(length: number, first = alice.id): Link[] {
  const names = [first, ...Array.from({ length }, (_, index) => `key ${index}`)]
  return names.slice(1).map((name, index) => link(names[index] as string, [name], index > 0 ? [names[index - 1] as string] : []))
}

test('a few are kept as they are', () => {
  const few = [...chain(5), link('stranger')]
  expect(keepLinks(trust, few, link('key 4'))).toBe(few)
})

test('of many, each that it takes is kept', () => {
  const many = chain(40)
  expect(keepLinks(trust, many, link('key 39'))).toEqual(many)
})

test('those are dropped without which the same keys come about', () => {
  const idle = Array.from({ length: 20 }, () => link(alice.id, [bob.id]))
  const once = link(alice.id, ['retired'])
  const never = link(alice.id, [], ['retired'])
  expect(keepLinks(trust, [...idle, link('stranger', ['x'])], link(bob.id))).toEqual([idle.at(-1)])
  // A key that is revoked for ever must stay so.
  expect(keepLinks(trust, [once, ...idle, never], link(bob.id))).toEqual([idle.at(-1), never])
})

test('a release that brings a later key along needs only what came after it', () => {
  const many = chain(40, bob.id)
  const later = SigningTrust.of([alice.publicKey, bob.publicKey])
  expect(keepLinks(later, [link(alice.id, [bob.id]), ...many], link('key 39'))).toEqual(many)
})

test('where the last set is not accepted, nothing is dropped', () => {
  const many = chain(40)
  expect(keepLinks(trust, many, link('stranger'))).toBe(many)
})

test('there is an end to how many are stored', () => {
  expect([areTooMany(chain(256)), areTooMany(chain(257))]).toEqual([false, true])
  const long = { ...link(alice.id), text: 'x'.repeat(33 * 1024 * 1024) }
  expect([areTooMany([long]), areTooMany([long, long])]).toEqual([false, true])
})

test('as many as there can be are looked through in no time', () => {
  const before = performance.now()
  keepLinks(trust, chain(257), link('key 256'))
  expect(performance.now() - before).toBeLessThan(2_000)
})
