import { PeerHistory } from '../../lib/report/history.js'
import { ServerClock } from '../../lib/report/server-clock.js'
import { TrustAnchors } from '../../lib/verify/anchors.js'
import { PeerRecord } from '../../lib/verify/records.js'
import { createAuthority } from '../support/pki.js'

const root = createAuthority()
const records = Array.from({ length: 6 }, () => new PeerRecord(root.issue().x509, new TrustAnchors(root.pem, false)))
const record = records[0] as PeerRecord

test('four certificates of a host are remembered, the last one first, with when they were seen', () => {
  const history = new PeerHistory()
  records.forEach((each, i) => history.accept('a', 443, each, i))
  history.accept('a', 443, records[3] as PeerRecord, 10)
  expect(history.find('a', 443)?.accepted.map(({ record: each, firstSeen, lastSeen }) => [records.indexOf(each), firstSeen, lastSeen])).toEqual([[3, 3, 10], [5, 5, 5], [4, 4, 4], [2, 2, 2]])
  expect(history.find('a', 8443)).toBeUndefined()
})

test('what was refused is remembered apart, and what was found does not change afterwards', () => {
  const history = new PeerHistory()
  history.refuse('a', 443, 'AA', 1)
  const found = history.find('a', 443)
  history.refuse('a', 443, 'AA', 2)
  history.refuse('a', 443, 'BB', 3)
  expect(found).toEqual({ accepted: [], refused: [{ fingerprint: 'AA', firstSeen: 1, lastSeen: 1 }] })
  expect(history.find('a', 443)?.refused).toEqual([{ fingerprint: 'BB', firstSeen: 3, lastSeen: 3 }, { fingerprint: 'AA', firstSeen: 1, lastSeen: 2 }])
})

test('the host not heard of for longest makes room', () => {
  const history = new PeerHistory(3)
  for (const [i, host] of ['a', 'b', 'c', 'a', 'd'].entries()) history.accept(host, 443, record, i)
  expect([...history.latest()].map(({ host }) => host).sort()).toEqual(['a', 'c', 'd'])
})

test('the time by the servers is the median of their Date headers, carried on by the monotonic clock', () => {
  let at = 0
  const wall = (): number => 500_000 + at
  const clock = new ServerClock(() => at)
  expect([clock.now(wall()), clock.isDue]).toEqual([undefined, true])
  clock.observe('a', 'not a date', wall())
  clock.observe('a', undefined, wall())
  expect([clock.now(wall()), clock.isDue]).toEqual([undefined, true])
  clock.observe('a', new Date(1_000_000).toUTCString(), wall())
  expect(clock.isDue).toBe(false)
  at = 60_000
  expect([clock.now(wall()), clock.isDue]).toEqual([1_060_000, true])
  clock.observe('liar', new Date(9_000_000_000).toUTCString(), wall())
  clock.observe('b', new Date(1_061_000).toUTCString(), wall())
  expect(clock.now(wall())).toBe(1_061_000)
  for (let i = 0; i < 100; i++) clock.observe(`h${i}`, new Date(5_000).toUTCString(), wall())
  expect(clock.now(wall())).toBe(5_000)
})

test('a clock that was set back is noticed; a machine that has slept is not taken for a clock set forward', () => {
  let at = 0
  const clock = new ServerClock(() => at)
  clock.observe('a', new Date(86_400_000).toUTCString(), 86_400_000)
  at = 10_000
  expect(clock.now(0)).toBe(86_410_000)
  expect(clock.now(5 * 86_400_000)).toBeUndefined()
  clock.observe('a', new Date(5 * 86_400_000).toUTCString(), 5 * 86_400_000)
  expect(clock.now(5 * 86_400_000)).toBe(5 * 86_400_000)
})
