import { execFileSync } from 'node:child_process'
import { join } from 'node:path'
import { HostTrend } from '../../lib/report/host-trend.js'
import type { Episode, Failure, LeafFacts } from '../../lib/report/host-trend.js'
import type { Threat } from '../../lib/report/threat.js'
import { ThreatMonitor } from '../../lib/report/threat-monitor.js'

const start = Date.UTC(2027, 0, 1)
const day = 24 * 3_600_000

/** A host's connections, half a minute apart. */
class Sequence {
  readonly trend = new HostTrend()
  readonly episodes: Episode[] = []
  time = start

  good(count = 1, leaf = 'old', facts: Partial<LeafFacts> = {}): this {
    for (let i = 0; i < count; i++) this.#one(true, leaf, { issuer: 'CA A', issued: start - 30 * day, ...facts })
    return this
  }

  bad(count = 1, leaf: string | undefined = 'new', facts: Partial<LeafFacts> = {}): this {
    for (let i = 0; i < count; i++) this.#one(false, leaf, facts)
    return this
  }

  wait(ms: number): this {
    this.time += ms
    return this
  }

  get kinds(): string[] {
    return this.episodes.map(({ kind }) => kind)
  }

  #one(accepted: boolean, leaf: string | undefined, facts: Partial<LeafFacts>): void {
    const { time } = this
    this.time += 30_000
    const episode = this.trend.observe({ accepted, leaf, time, facts: () => ({ issuer: 'CA A', issuerKey: 'key', issued: time - 3_600_000, interceptor: undefined, failure: 'pins', ...facts }) })
    if (episode) this.episodes.push(episode)
  }
}

const other = { issuer: 'CA B' }
const untrusted = { issuer: 'Somebody', failure: 'untrusted' as Failure }

describe('what is said of one host', () => {
  test.each<[string, (sequence: Sequence) => Sequence, string[]]>([
    ['nothing fails', (s) => s.good(1_000), []],
    ['the pinned certificate is renewed, and pinned', (s) => s.good(100).good(500, 'renewed', { issuer: 'CA A' }), []],
    ['one connection in fifty fails', (s) => { for (let i = 0; i < 20; i++) s.good(49).bad(1, `stray ${i}`, untrusted); return s }, []],
    ['every connection fails, same issuer', (s) => s.good(100).bad(30), ['rotation']],
    ['every connection fails, another trusted issuer', (s) => s.good(100).bad(60, 'new', other), ['unexplained']],
    ['some fail, another trusted issuer, a fresh certificate', (s) => { s.good(100); for (let i = 0; i < 10; i++) s.bad(1, 'stolen', other).good(3); return s }, ['attack']],
    ['some fail, another trusted issuer, an old certificate', (s) => { s.good(100); for (let i = 0; i < 30; i++) s.bad(1, 'cdn', { ...other, issued: start - 21 * day }).good(2); return s }, ['unexplained']],
    ['no trusted CA', (s) => s.good(100).bad(10, 'fake', untrusted), ['attack']],
    ['no trusted CA, from the first connection on', (s) => s.bad(10, 'fake', untrusted), ['attack']],
    ['an interceptor by name', (s) => s.good(100).bad(10, 'fake', { issuer: 'mitmproxy', interceptor: 'mitmproxy' }), ['attack']],
    ['a new key each time, no trusted CA', (s) => { s.good(100); for (let i = 0; i < 10; i++) s.bad(1, `fake ${i}`, untrusted); return s }, ['attack']],
    ['the certificate has expired', (s) => s.good(100).bad(30, 'old', { failure: 'expired' }), ['rotation']],
    ['the host sends its own certificate without the intermediate', (s) => s.good(100).bad(30, 'old', { failure: 'untrusted' }), ['unexplained', 'rotation']],
    ['wrong pins from the first connection on', (s) => s.bad(40, 'never pinned', other), ['unexplained', 'rotation']],
    ['no certificate could be read', (s) => s.good(100).bad(10, undefined, { issuer: '', failure: 'untrusted' }), ['attack']],
    ['a rollout step by step, same issuer', (s) => { s.good(100); for (let i = 1; i < 30; i++) s.bad(i < 15 ? 1 : 10).good(i < 15 ? 4 : 0); return s }, ['unexplained', 'rotation']]
  ])('%s', (_, play, kinds) => {
    expect(play(new Sequence()).kinds).toEqual(kinds)
  })

  test('the evidence says in words and numbers what the score is made of', () => {
    const { episodes } = new Sequence().good(300).bad(2, 'fake', untrusted).good(1).bad(1, 'fake 2', untrusted)
    expect(episodes).toHaveLength(1)
    const { score, evidence } = episodes[0] as Episode
    expect(evidence.map(({ fact, weight }) => [fact, Number(weight.toFixed(1))])).toEqual([
      [expect.stringMatching(/^3 connections have failed since 2027-01-01T02:30:00.000Z, where \d\.\d % used to$/), 0],
      ['the certificate leads to no trusted CA', 4.5],
      ['2 different certificates were refused', 1],
      ['accepted connections came between refused ones', 0.4]
    ])
    expect(score).toBeCloseTo(evidence.reduce((sum, { weight }) => sum + weight, 0))
  })

  test('an episode ends with calm, and a later one is told again', () => {
    const sequence = new Sequence().good(100).bad(5, 'fake', untrusted).good(60)
    expect([sequence.trend.score, sequence.trend.excess]).toEqual([0, 0])
    expect(sequence.bad(5, 'fake', untrusted).kinds).toEqual(['attack', 'attack'])
  })

  test('failures from yesterday do not count today', () => {
    const sequence = new Sequence().good(300)
    for (let i = 0; i < 6; i++) sequence.bad(1, 'fake', untrusted).wait(day)
    expect(sequence.kinds).toEqual([])
  })

  test('what lasts becomes the usual, and more than that is remarkable again', () => {
    const sequence = new Sequence().good(100)
    for (let i = 0; i < 800; i++) sequence.bad(1, 'cdn', { ...other, issued: start - 21 * day }).good(3)
    expect(sequence.kinds.length).toBeLessThanOrEqual(2)
    expect(sequence.kinds).not.toContain('attack')
    expect(sequence.good(60).bad(40, 'fake', untrusted).kinds.at(-1)).toBe('attack')
  })

  test('an attack is not taken back, and not said again, while it lasts', () => {
    expect(new Sequence().good(100).bad(5, 'fake', untrusted).bad(500).kinds).toEqual(['attack'])
  })

  test('after any sequence whatever, all numbers are finite and bounded', () => {
    const sequence = new Sequence()
    let state = 7
    let worst = 0
    const random = (): number => (state = (state * 48_271) % 2_147_483_647) / 2_147_483_647
    for (let i = 0; i < 20_000; i++) {
      if (random() < 0.5) sequence.good(1, `leaf ${Math.floor(random() * 50)}`, { issuer: `CA ${Math.floor(random() * 9)}` })
      else sequence.bad(1, `leaf ${Math.floor(random() * 50)}`, { issuer: `CA ${Math.floor(random() * 9)}`, failure: (['pins', 'untrusted', 'expired', 'name'] as const)[Math.floor(random() * 4)] as Failure })
      const { excess, score } = sequence.trend
      worst = Math.max(worst, excess, Math.abs(score))
      if (!(excess >= 0)) worst = NaN
    }
    expect(worst).toBeLessThan(30)
  })
})

describe('across hosts', () => {
  function monitorOf(limit?: number): { monitor: ThreatMonitor, threats: Threat[], good: (host: string, issuer?: string) => void, bad: (host: string, facts?: Partial<LeafFacts>, time?: number) => void } {
    const threats: Threat[] = []
    const monitor = new ThreatMonitor((threat) => void threats.push(threat), limit)
    const observe = (host: string, accepted: boolean, facts: Partial<LeafFacts>, time: number): void => monitor.observe({ host, accepted, leaf: `${host} ${facts.issuer}`, time, facts: () => ({ issuer: 'CA A', issuerKey: 'key', issued: start, interceptor: undefined, failure: 'pins', ...facts }) })
    return {
      monitor, threats,
      good: (host, issuer = 'CA A') => { for (let i = 0; i < 50; i++) observe(host, true, { issuer }, start) },
      bad: (host, facts = {}, time = start) => observe(host, false, { issuer: 'Company Root', ...facts }, time)
    }
  }
  const hosts = ['a.test:443', 'b.test:443', 'c.test:443', 'd.test:443', 'e.test:443', 'f.test:443']

  test('one key before three hosts is an interception, after one connection to each, and again when they are twice as many', () => {
    const { threats, good, bad } = monitorOf()
    for (const host of hosts) good(host)
    for (const host of hosts.slice(0, 2)) bad(host)
    expect(threats).toEqual([])
    for (const host of hosts) bad(host)
    expect(threats.filter(({ kind }) => kind === 'interception').map((threat) => threat.hosts)).toEqual([['c.test:443', 'b.test:443', 'a.test:443'], [...hosts].reverse()])
    expect(threats.find(({ kind }) => kind === 'interception')).toMatchObject({ severity: 'critical', evidence: [{ fact: expect.stringContaining('one key (key) has issued certificates for 3 hosts within an hour') }], wrongIf: [expect.stringContaining('moved to one CA'), expect.stringContaining('consent')] })
  })

  test.each<[string, (m: ReturnType<typeof monitorOf>) => void]>([
    ['the issuer is the one that they use', ({ bad }) => hosts.forEach((host) => bad(host, { issuer: 'CA A' }))],
    ['each has a key of its own', ({ bad }) => hosts.forEach((host) => bad(host, { issuerKey: host }))],
    ['they are spread over a day', ({ bad }) => hosts.forEach((host, i) => bad(host, {}, start + i * 2 * 3_600_000))],
    ['they have expired', ({ bad }) => hosts.forEach((host) => bad(host, { failure: 'expired' }))],
    ['it is two hosts, again and again', ({ bad }) => { for (let i = 0; i < 40; i++) bad(hosts[i % 2] as string) }]
  ])('is none where %s', (_, play) => {
    const monitor = monitorOf()
    for (const host of hosts) monitor.good(host)
    play(monitor)
    expect(monitor.threats.filter(({ kind }) => kind === 'interception')).toEqual([])
  })

  test('hosts without a history count only where the certificate leads to no trusted CA', () => {
    const { threats, bad } = monitorOf()
    for (const host of hosts) bad(host)
    expect(threats).toEqual([])
    for (const host of hosts) bad(host, { failure: 'untrusted' })
    expect(threats.some(({ kind }) => kind === 'interception')).toBe(true)
  })

  test('the hosts not heard of for longest are forgotten, whoever floods it', () => {
    const { monitor, good, bad } = monitorOf(100)
    for (let i = 0; i < 5_000; i++) bad(`h${i}.test:443`, { issuerKey: `key ${i}` })
    good('last.test:443')
    expect([...monitor.trends()]).toHaveLength(100)
    expect([...monitor.trends()].at(-1)?.host).toBe('last.test:443')
  })
})

test('a threat speaks to people and to machines', () => {
  const threats: Threat[] = []
  const monitor = new ThreatMonitor((threat) => void threats.push(threat))
  for (let i = 0; i < 5; i++) monitor.observe({ host: 'a.test:443', accepted: false, leaf: 'x', time: start, facts: () => ({ issuer: 'X', issuerKey: 'k', issued: start, interceptor: 'mitmproxy', failure: 'untrusted' }) })
  const [threat] = threats
  expect(JSON.parse(JSON.stringify(threat))).toMatchObject({ kind: 'attack', severity: 'critical', hosts: ['a.test:443'], time: '2027-01-01T00:00:00.000Z', score: expect.any(Number), evidence: expect.arrayContaining([{ fact: 'the issuer bears the name of a product that intercepts', weight: 4.5 }]), wrongIf: expect.any(Array) })
  expect(String(threat)).toMatch(/^Looks like an attack at a\.test:443 \(critical, score \d\.\d\)\n {2}\+0\.0 \d connections have failed[^]*\n {2}\+4\.5 the issuer bears[^]*\n {2}wrong if the owner has moved/)
})

test('the bench, in short: seen and told apart on traces whose truth is known, at the cost that is promised', () => {
  const bench = (): any => JSON.parse(execFileSync(process.execPath, ['--expose-gc', join(__dirname, '../../bench/threats.mjs'), '--runs', '20', '--json'], { encoding: 'utf8', timeout: 60_000 }))
  const { rows, cost, bytesPerHost } = bench()
  const row = (title: string): any => rows.find((each: any) => each.title.startsWith(title)) ?? fail(title)
  expect(rows.map(({ before }: any) => before)).toEqual(rows.map(() => 0))
  for (const title of ['intercepting Wi-Fi', 'interceptor known by name', 'interceptor without a name, its CA trusted, 8 hosts', 'partial (BGP): 20 % of 300 connections, another CA', 'a new key for every connection']) expect([title, row(title).attack]).toEqual([title, 1])
  for (const title of ['nothing', 'rotation: every connection, same CA', 'rotation: every server', 'staged rollout over 400 connections, same CA', 'two CDNs', 'the certificate has expired', 'the intermediate']) expect([title, row(title).attack <= 0.05]).toEqual([title, true])
  expect(row('nothing').silent).toBeGreaterThanOrEqual(0.95)
  for (const title of ['rotation: every connection, same CA', 'rotation: every server', 'staged rollout over 400 connections, same CA']) expect([title, row(title).rotation >= 0.85]).toEqual([title, true])
  expect(row('intercepting Wi-Fi').attackMedian).toBe(3)
  // 2 µs on a quiet machine; this one may be busy.
  expect(cost.bestUs).toBeLessThan(10)
  expect(bytesPerHost).toBeLessThan(1_000)
  expect(bench().rows).toEqual(rows)
})

function fail(title: string): never {
  throw new Error(`no such trace: ${title}`)
}
