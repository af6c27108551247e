import type { UpdateReport } from '../../lib/report/update-report.js'
import { readUpdateOptions } from '../../lib/update/options.js'
import type { UpdateOptions } from '../../lib/update/options.js'
import type { PinSetAnswer, PinSetSource } from '../../lib/update/source.js'
import { memoryStore } from '../../lib/update/store.js'
import type { PinSetState, PinSetStore } from '../../lib/update/store.js'
import { Updater } from '../../lib/update/updater.js'
import { HeldClock, HeldSource, createSigner, iso, pinSet, sign } from '../support/pin-sets.js'
import type { Signer } from '../support/pin-sets.js'

const [alice, bob] = [createSigner(), createSigner()]
const hour = 3_600_000

/** One program on time of its own. What is in force is told by version. */
class Program {
  readonly reports: UpdateReport[] = []
  readonly history: string[] = []
  readonly updater: Updater

  constructor(readonly source: HeldSource, readonly clock: HeldClock, options: Partial<UpdateOptions> = {}) {
    const settings = readUpdateOptions({ source, trustedKeys: [alice.publicKey], audience: 'test', onExpiredSet: 'refuse', ...options })
    this.updater = new Updater(
      settings,
      {
        fetch: (request) => source.fetch({ ...request, agent: undefined as never }),
        prepare: (set) => Promise.resolve(() => {
          this.history.push(`v${set.version}`)
          return 0
        }),
        expire: (set) => void this.history.push(`expired v${set.version}`),
        revision: () => this.history.length,
        tell: (report) => void this.reports.push(report)
      },
      clock
    )
    // Whatever does not wait for the source ends by itself.
    clock.busy = () => (this.updater.status().refreshing || this.updater.first() !== undefined) && (source.underWay === 0 ? true : 'perhaps')
    this.updater.start()
  }

  get results(): string[] {
    return this.reports.map(({ result }) => result)
  }
}

const programs: Program[] = []

function start(answer: HeldSource['answer'], options: Partial<UpdateOptions> = {}, clock = new HeldClock()): Program {
  const program = new Program(new HeldSource(answer), clock, options)
  programs.push(program)
  return program
}

afterEach(async () => {
  for (const { updater } of programs.splice(0)) await updater.close()
})

const clock = new HeldClock()
const set = async (version: number, changes = {}, ...signers: Signer[]): Promise<string> => await sign(pinSet({ version, ...changes }, clock.now()), ...(signers.length > 0 ? signers : [alice]))

/** A source that never answers. */
const silence = (): Promise<never> => new Promise(() => undefined)

describe('when the source is asked', () => {
  test('at once where there is no stored set, then at a moment of its own, then after refreshMs, a tenth more or less', async () => {
    const text = await set(1, { refreshMs: hour })
    const program = start(() => text)
    await program.clock.pass(0)
    expect([program.history, program.source.requests.length]).toEqual([['v1'], 1])
    expect(program.updater.status().nextRefresh).toBe(iso(program.clock.now() + hour / 2))
    program.clock.chance = 0
    await program.clock.pass(hour / 2)
    expect(program.source.requests.length).toBe(2)
    expect(program.updater.status().nextRefresh).toBe(iso(program.clock.now() + 0.9 * hour))
    program.clock.chance = 0.9999
    await program.clock.pass(0.9 * hour)
    expect(Date.parse(program.updater.status().nextRefresh ?? '')).toBeCloseTo(program.clock.now() + 1.1 * hour, -4)
    expect([program.source.requests.length, program.history]).toEqual([3, ['v1']])
  })

  test('where there is a stored set, at a moment of its own in the next interval: a fleet that restarts does not come at once', async () => {
    const store = memoryStore()
    const text = await set(1, { refreshMs: hour })
    const first = start(() => text, { store })
    await first.clock.pass(0)
    const clock = new HeldClock()
    clock.chance = 0.25
    const second = start(() => text, { store }, clock)
    // A quarter into an interval that is 5 % early.
    await clock.pass(0.25 * 0.95 * hour - 1)
    expect([second.results, second.source.requests.length]).toEqual([['restored'], 0])
    await clock.pass(1)
    expect(second.source.requests.length).toBe(1)
  })

  test('before the set in force expires, whatever its refreshMs', async () => {
    const program = start(async () => await set(1, { refreshMs: 7 * 24 * hour, expires: iso(clock.now() + 10 * hour) }))
    await program.clock.pass(0)
    expect(program.updater.status().nextRefresh).toBe(iso(program.clock.now() + 5 * hour))
  })

  test('never twice at once', async () => {
    const text = await set(1)
    const waiting: Array<() => void> = []
    const program = start(() => new Promise<string>((resolve) => waiting.push(() => resolve(text))))
    await program.clock.pass(0)
    const asked = [program.updater.refresh(), program.updater.refresh(), program.updater.beforeRefusal()]
    await program.clock.pass(1)
    expect(program.source.underWay).toBe(1)
    waiting.forEach((go) => go())
    await Promise.all(asked)
    expect([program.source.mostUnderWay, program.source.requests.length]).toEqual([1, 1])
  })

  test('with the etag of the last set that was accepted', async () => {
    const answers: Array<PinSetAnswer | string> = [{ text: await set(1), etag: '"a"' }, { text: undefined, etag: '"a"' }, { text: 'junk', etag: '"b"' }, { text: undefined, etag: '"a"' }]
    const program = start(() => answers.shift() ?? '')
    for (let turn = 0; turn < 4; turn++) await program.clock.pass(2 * hour)
    expect(program.source.requests.slice(0, 4).map(({ etag }) => etag)).toEqual([undefined, '"a"', '"a"', '"a"'])
    expect(program.results.slice(0, 2)).toEqual(['updated', 'rejected'])
  })

  test('at once when it says itself that there is something new, also while it is being asked', async () => {
    let version = 0
    const source = new HeldSource(async () => await set(++version)) as HeldSource & PinSetSource
    let ended = 0
    source.subscribe = (changed) => {
      source.changed = changed
      return () => void ended++
    }
    const program = new Program(source, new HeldClock())
    programs.push(program)
    await program.clock.pass(0)
    source.changed()
    source.changed()
    await program.clock.pass(100)
    expect([program.history, source.requests.map(({ etag }) => etag)]).toEqual([['v1', 'v2'], [undefined, undefined]])
    const refresh = program.updater.refresh()
    source.changed()
    await refresh
    await program.clock.pass(100)
    expect([program.history, source.mostUnderWay]).toEqual([['v1', 'v2', 'v3', 'v4'], 1])
    await program.updater.close()
    expect(ended).toBe(1)
  })
})

describe('a source that says all the time that there is something new', () => {
  function busy(answer: HeldSource['answer'], during: boolean): Program {
    const source = new HeldSource(async (request) => {
      await Promise.resolve()
      if (during) source.changed()
      return await answer(request)
    }) as HeldSource & PinSetSource
    source.subscribe = (changed) => {
      source.changed = changed
      return () => undefined
    }
    const program = new Program(source, new HeldClock())
    programs.push(program)
    return program
  }

  test('does not put off the look at it', async () => {
    const text = await set(1, { refreshMs: hour })
    const program = busy(() => text, false)
    await program.clock.pass(0)
    for (let turn = 0; turn < 10; turn++) {
      program.source.changed()
      await program.clock.pass(20)
    }
    expect(program.source.requests.length).toBeGreaterThan(2)
  })

  test('while it is asked, and fails, is asked less and less often', async () => {
    const program = busy(() => new Error('down'), true)
    await program.clock.pass(0)
    await program.clock.pass(60_000)
    expect(program.source.requests.length).toBeLessThan(10)
  })

  test('while it is asked, and wants to be left alone, is', async () => {
    const program = busy(() => Object.assign(new Error('busy'), { retryAfterMs: 600_000 }), true)
    await program.clock.pass(0)
    await program.clock.pass(599_000)
    expect(program.source.requests.length).toBe(1)
  })
})

describe('when the source fails', () => {
  test('the waits grow, at random, up to refreshMs, and begin anew after a success', async () => {
    const delays: number[] = []
    const text = await set(1, { refreshMs: 60_000 })
    const answers: Array<string | Error> = [text, ...Array.from({ length: 8 }, () => new Error('down')), text]
    const program = start(() => answers.shift() ?? new Error('down'))
    for (let turn = 0; turn < 10; turn++) {
      await program.clock.pass(0)
      const next = Date.parse(program.updater.status().nextRefresh ?? '') - program.clock.now()
      delays.push(next)
      await program.clock.pass(next)
    }
    // Chance is 0.5 throughout: half of the interval after the start and the outage, and of a sixteenth, an eighth, … of it in between.
    expect(delays).toEqual([30_000, 1_875, 3_750, 7_500, 15_000, 30_000, 30_000, 30_000, 30_000, 30_000])
    expect(program.history).toEqual(['v1'])
  })

  test('Retry-After is kept to, also by retries before a refusal', async () => {
    const program = start(() => Object.assign(new Error('busy'), { retryAfterMs: 600_000 }))
    await program.clock.pass(0)
    expect(program.source.requests.length).toBe(1)
    await program.clock.pass(599_000)
    expect([program.updater.mayRetry, program.updater.beforeRefusal(), program.source.requests.length]).toEqual([false, undefined, 1])
    // And then not all in the same moment.
    await program.clock.pass(120_000)
    expect(program.source.requests.length).toBe(2)
  })

  test('one that never answers is given up after fetchTimeoutMs, and its request aborted', async () => {
    const program = start(silence, { fetchTimeoutMs: 3_000 })
    await program.clock.pass(2_999)
    expect([program.results, program.source.requests[0]?.signal.aborted]).toEqual([[], false])
    await program.clock.pass(1)
    expect([program.results, program.source.requests[0]?.signal.aborted]).toEqual([['unavailable'], true])
    expect(String(program.reports[0])).toBe('held cannot be used now, and the bootstrap pins stay in force: there was no answer within 3000 ms')
  })

  test.each([[Object.create(null)], [undefined], [Symbol('x')], [Object.assign(new Error('x'), { message: Object.create(null) })]])('whatever it rejects with is told (%#)', async (thrown: unknown) => {
    const program = start(() => Promise.reject(thrown as Error))
    await program.clock.pass(0)
    expect([program.results, typeof program.updater.status().lastError?.message]).toEqual([['unavailable'], 'string'])
    String(program.reports[0])
  })

  test('the status is JSON, whatever the code of an error', async () => {
    const program = start(() => Object.assign(new Error('x'), { code: 5n }))
    await program.clock.pass(0)
    expect(JSON.parse(JSON.stringify(program.updater.status()))).toMatchObject({ lastError: { message: 'x' } })
  })

  test('once and then answers that nothing has changed, nothing is overdue', async () => {
    const text = await set(1)
    const answers: Array<string | Error> = [text, new Error('blip'), text]
    const program = start(() => answers.shift() ?? text)
    await program.clock.pass(0)
    await program.updater.refresh()
    expect(program.updater.status()).toMatchObject({ failures: 1, lastError: { message: 'blip' } })
    await program.updater.refresh()
    expect([program.updater.status().failures, program.updater.status().lastError]).toEqual([0, undefined])
  })

  test('a refusal does not speak of a version that is not in force', async () => {
    const store = memoryStore()
    await store.save({ version: 4, hash: 'x', text: undefined, links: [] })
    const program = start(async () => await set(2), { store })
    await program.clock.pass(0)
    expect([program.reports[1]?.error?.message, program.reports[1]?.version]).toEqual([expect.stringMatching(/lower than 4, which has been seen. What was in force stays/), undefined])
  })

  test('a set that is refused changes nothing, and is told', async () => {
    const answers = [await set(5), await set(4)]
    const program = start(() => answers.shift() ?? new Error('no more'))
    await program.clock.pass(0)
    await program.updater.refresh()
    expect(program.history).toEqual(['v5'])
    expect(program.reports[1]).toMatchObject({ result: 'rejected', version: 5, error: { code: 'ERR_PIN_UPDATE_REJECTED', reason: 'rollback' } })
    expect(program.updater.status()).toMatchObject({ state: 'current', version: 5, lastError: { code: 'ERR_PIN_UPDATE_REJECTED' } })
    const status = program.updater.status()
    expect(JSON.parse(JSON.stringify(status))).toEqual(status)
  })
})

describe('before a refusal is final', () => {
  test('the source is asked once more, once in staleRetryMs, however many connections are refused', async () => {
    const texts = [await set(1, { refreshMs: 24 * hour }), await set(2, { refreshMs: 24 * hour })]
    const program = start(() => texts.shift() ?? new Error('none'), { staleRetryMs: 60_000 })
    await program.clock.pass(0)
    expect([program.updater.mayRetry, program.updater.beforeRefusal()]).toEqual([false, undefined])
    await program.clock.pass(60_000)
    expect(program.updater.mayRetry).toBe(true)
    await Promise.all(Array.from({ length: 100 }, () => program.updater.beforeRefusal()))
    expect([program.history, program.source.requests.length]).toEqual([['v1', 'v2'], 2])
    for (let attack = 0; attack < 100; attack++) await program.updater.beforeRefusal()
    expect(program.source.requests.length).toBe(2)
  })

  test('and never at all with staleRetryMs: Infinity', async () => {
    const program = start(() => new Error('none'), { staleRetryMs: Infinity })
    await program.clock.pass(0)
    await program.updater.close()
    const other = start(async () => await set(1), { staleRetryMs: Infinity })
    await other.clock.pass(0)
    await other.clock.pass(hour / 2)
    expect(other.updater.beforeRefusal()).toBeUndefined()
  })

  test('for no longer than fetchTimeoutMs', async () => {
    const answers: Array<() => string | Promise<never>> = [() => text, silence]
    const text = await set(1)
    const program = start(() => (answers.shift() ?? silence)(), { fetchTimeoutMs: 2_000, staleRetryMs: 1 })
    await program.clock.pass(10)
    let ended = false
    void program.updater.beforeRefusal()?.then(() => (ended = true))
    await program.clock.pass(1_999)
    expect(ended).toBe(false)
    await program.clock.pass(2)
    expect(ended).toBe(true)
  })
})

describe('over a restart', () => {
  const restart = (store: PinSetStore, answer: HeldSource['answer'], now: number, options: Partial<UpdateOptions> = {}): Program => start(answer, { store, ...options }, new HeldClock(now))

  async function run(texts: string[], options: Partial<UpdateOptions> = {}): Promise<PinSetStore> {
    const store = memoryStore()
    const program = start(() => texts.shift() ?? new Error('none'), { store, ...options })
    await program.clock.pass(0)
    while (texts.length > 0) await program.updater.refresh()
    await program.updater.close()
    return store
  }

  test('the last set is in force again before the source is asked', async () => {
    const store = await run([await set(3)])
    const program = restart(store, silence, clock.now())
    await program.clock.pass(0)
    expect([program.history, program.updater.first()]).toEqual([['v3'], undefined])
    expect(String(program.reports[0])).toBe('Pin set version 3 of memory is in force again')
  })

  test('no lower version is accepted, and no other content of the same version (rollback)', async () => {
    const store = await run([await set(3)])
    const answers = [await set(2), await set(3, { refreshMs: 5_000 })]
    const program = restart(store, () => answers.shift() ?? '', clock.now())
    await program.clock.pass(0)
    await program.updater.refresh()
    await program.updater.refresh()
    expect(program.reports.slice(1).map(({ error }) => error?.reason)).toEqual(['rollback', 'other-content'])
    expect(program.history).toEqual(['v3'])
  })

  test('a set that expired meanwhile is not trusted, however long the source is kept away (freeze)', async () => {
    const store = await run([await set(3)])
    const program = restart(store, () => new Error('kept away'), clock.now() + 8 * 24 * hour)
    await program.clock.pass(0)
    expect([program.history, program.updater.status().state]).toEqual([['v3', 'expired v3'], 'expired'])
    expect(program.source.requests.length).toBe(1)
  })

  test('signing keys that sets have named are known again, each verified from the keys in the code on', async () => {
    const store = await run([await set(1, { keys: [bob.jwk] }), await set(2, { revoked: { keys: [alice.id] } }, bob), await set(3, {}, bob)])
    const saved = await store.load()
    expect(saved?.links.length).toBe(2)
    const program = restart(store, async () => await set(4), clock.now())
    await program.clock.pass(0)
    expect([program.history, program.updater.status().trustedKeys]).toEqual([['v3'], [bob.id]])
    // Alice's key is in the code, and revoked for ever.
    await program.updater.refresh()
    expect(program.reports.at(-1)?.error?.reason).toBe('unknown-key')
  })

  test.each<[string, (state: PinSetState) => Promise<PinSetState | undefined>, string]>([
    ['a set with a changed byte', (state) => Promise.resolve({ ...state, text: state.text?.replace(/"payload":"./, '"payload":"f') }), 'rejected'],
    ['an older set in its place', async (state) => ({ ...state, text: await set(2) }), 'unavailable'],
    ["a set of somebody else's", async (state) => ({ ...state, text: await set(9, {}, bob) }), 'rejected'],
    ['signing keys that nobody has named', async (state) => ({ ...state, links: [await set(1, { keys: [bob.jwk] }, bob)], text: await set(9, {}, bob) }), 'rejected'],
    ['a damaged set', (state) => Promise.resolve({ ...state, text: undefined }), 'unavailable']
  ])('%s is not trusted, and the version that was seen still counts', async (_name, tamper, result) => {
    const store = await run([await set(3)])
    const state = await tamper((await store.load()) as PinSetState)
    const tampered: PinSetStore = { name: 'tampered', load: () => Promise.resolve(state), save: () => Promise.resolve() }
    const answers = [await set(2), await set(4)]
    const program = restart(tampered, () => answers.shift() ?? '', clock.now())
    await program.clock.pass(0)
    expect([program.results[0], program.reports[0]?.source]).toEqual([result, 'tampered'])
    expect(program.reports[1]?.error?.reason).toBe('rollback')
    await program.updater.refresh()
    expect(program.history).toEqual(['v4'])
  })

  test('a store that fails is told of; the set is in force all the same', async () => {
    const broken: PinSetStore = { name: 'broken', load: () => Promise.resolve(undefined), save: () => Promise.reject(new Error('disk full')) }
    const program = restart(broken, async () => await set(1), clock.now())
    await program.clock.pass(0)
    expect(program.reports.map(({ result, source, error }) => [result, source, error?.message])).toEqual([['updated', 'held', undefined], ['unavailable', 'broken', 'disk full']])
    expect([program.history, program.updater.status().lastError?.message, program.updater.status().failures]).toEqual([['v1'], 'disk full', 0])
  })

  test('while the store cannot be read no set is taken, since an older one would not be noticed; it is tried again', async () => {
    const store = await run([await set(9)])
    let readable = false
    const closed: PinSetStore = { ...store, name: 'closed', load: () => (readable ? store.load() : Promise.reject(new Error('no access'))) }
    const answers = [await set(3), await set(10)]
    const program = restart(closed, () => answers.shift() ?? '', clock.now())
    await program.clock.pass(0)
    await program.updater.refresh()
    expect([program.history, program.source.requests.length, program.updater.status()]).toEqual([[], 0, expect.objectContaining({ state: 'bootstrap', failures: 2, lastError: expect.objectContaining({ message: 'no access' }) })])
    expect(Date.parse(program.updater.status().nextRefresh ?? '')).toBeGreaterThan(program.clock.now())
    readable = true
    await program.updater.refresh()
    expect([program.history, program.reports.at(-1)?.error?.reason]).toEqual([['v9'], 'rollback'])
    await program.updater.refresh()
    expect([program.history, program.updater.status().lastError]).toEqual([['v9', 'v10'], undefined])
  })

  test.each([[{}], [7], [{ version: '3', hash: 'x', links: [] }], [null]])('what is no state (%j) is not taken for an empty store', async (state) => {
    const program = restart({ name: 'odd', load: () => Promise.resolve(state as never), save: () => Promise.resolve() }, async () => await set(1), clock.now())
    await program.clock.pass(0)
    expect([program.history, program.results]).toEqual([[], ['unavailable']])
  })

  test('a look during a slow start waits for what is stored, which does not come after what is newer', async () => {
    const store = await run([await set(4)])
    let load = (): void => undefined
    let loading: Promise<unknown> = new Promise<void>((resolve) => (load = resolve))
    const slow: PinSetStore = { ...store, name: 'slow', load: async () => await loading.then(() => store.load()) }
    const program = restart(slow, async () => await set(5), clock.now())
    const refreshed = program.updater.refresh()
    program.clock.busy = () => false
    await program.clock.pass(1)
    expect([program.source.requests.length, program.updater.status().refreshing]).toEqual([0, true])
    load()
    loading = Promise.resolve()
    await refreshed
    expect([program.history, program.updater.status().version]).toEqual([['v4', 'v5'], 5])
  })

  test('a release without the old signing key can use the set that is stored, where its own keys have signed that', async () => {
    const store = await run([await set(1, { keys: [bob.jwk] }), await set(2, {}, bob)])
    const program = restart(store, () => new Error('down'), clock.now(), { trustedKeys: [bob.publicKey] })
    await program.clock.pass(0)
    expect([program.history, program.results.slice(0, 1), program.updater.status().trustedKeys]).toEqual([['v2'], ['restored'], [bob.id]])
  })

  test('a set that revokes the key it is signed with is the same set at the next look and after a restart', async () => {
    const text = await set(1, { keys: [bob.jwk], revoked: { keys: [alice.id] } })
    const store = await run([text, text, text])
    const program = restart(store, () => text, clock.now())
    await program.clock.pass(0)
    await program.updater.refresh()
    expect([program.results, program.updater.status().trustedKeys, program.updater.status().failures]).toEqual([['restored'], [bob.id], 0])
  })

  test('of many sets that changed the signing keys, those are stored that lead from the keys in the code to those of today', async () => {
    const texts = [await set(1, { keys: [bob.jwk] })]
    for (let version = 2; version <= 40; version++) {
      const carol = createSigner()
      texts.push(await set(version, { keys: [bob.jwk, carol.jwk], revoked: { keys: version === 2 ? [alice.id] : [] } }, bob))
      texts.push(await set(++version, { keys: [bob.jwk], revoked: { keys: [alice.id, carol.id] } }, bob))
    }
    const last = await set(50, { keys: [bob.jwk], revoked: { keys: [alice.id] } }, bob)
    const store = await run([...texts, last])
    const stored = await store.load()
    expect(stored?.links.length).toBeLessThan(40)
    const program = restart(store, () => last, clock.now())
    await program.clock.pass(0)
    expect([program.history, program.updater.status().trustedKeys]).toEqual([['v50'], [bob.id]])
  })

  test('more signing keys than can be remembered are refused', async () => {
    const program = restart(memoryStore(), async () => await set(program.source.requests.length, { keys: Array.from({ length: 16 }, () => createSigner().jwk) }), clock.now())
    await program.clock.pass(0)
    for (let turn = 0; turn < 4; turn++) await program.updater.refresh()
    expect([program.history, program.reports.at(-1)?.error?.reason, program.reports.at(-1)?.error?.message]).toEqual([['v1', 'v2', 'v3'], 'signing-keys', expect.stringMatching(/would make 65 signing keys; at most 64 are trusted at once/)])
  })

  test('what another program has seen on the same store counts', async () => {
    const store = memoryStore()
    const program = restart(store, async () => await set(2), clock.now())
    await store.save({ version: 5, hash: 'x', text: 'y', links: [] })
    await program.clock.pass(0)
    expect(program.results.at(-1)).toBe('rejected')
    expect(program.history).toEqual([])
  })
})

describe('a set that expires', () => {
  test('is not trusted any more from that moment, by the timer', async () => {
    const program = start(async () => await set(1), { staleRetryMs: Infinity })
    await program.clock.pass(0)
    program.source.answer = () => new Error('kept away')
    await program.clock.pass(7 * 24 * hour - 1)
    expect(program.history).toEqual(['v1'])
    await program.clock.pass(1)
    expect(program.history).toEqual(['v1', 'expired v1'])
    expect(program.updater.status().state).toBe('expired')
  })

  test('and where the timer is late (a machine that slept), before the next connection', async () => {
    const program = start(async () => await set(1))
    await program.clock.pass(0)
    program.clock.jump(8 * 24 * hour)
    program.updater.checkExpiry()
    program.updater.checkExpiry()
    expect(program.history).toEqual(['v1', 'expired v1'])
    expect(String(program.reports.at(-1))).toMatch(/^Pin set version 1 expired at 2026/)
  })

  test('counts again when only the clock was wrong, although the source has nothing newer', async () => {
    const text = await set(1)
    const program = start(({ etag }) => ({ text: etag === '"1"' ? undefined : text, etag: '"1"' }))
    await program.clock.pass(0)
    program.clock.jump(30 * 24 * hour)
    program.updater.checkExpiry()
    expect(program.updater.status().state).toBe('expired')
    // A look while it is wrong changes nothing.
    await program.updater.refresh()
    program.clock.jump(-30 * 24 * hour)
    await program.updater.refresh()
    expect([program.updater.status().state, program.history]).toEqual(['current', ['v1', 'expired v1', 'v1']])
  })

  test('and the source is asked for a refused connection, or for news, also if it was asked while the clock was wrong', async () => {
    const text = await set(1)
    const source = new HeldSource(() => text) as HeldSource & PinSetSource
    source.subscribe = (changed) => {
      source.changed = changed
      return () => undefined
    }
    const program = new Program(source, new HeldClock())
    programs.push(program)
    await program.clock.pass(100)
    program.clock.jump(30 * 24 * hour)
    program.updater.checkExpiry()
    source.changed()
    await program.clock.pass(100)
    expect(program.updater.status()).toMatchObject({ failures: 1, state: 'expired' })
    program.clock.jump(-30 * 24 * hour)
    await program.updater.beforeRefusal()
    expect([program.updater.status().state, program.updater.status().failures]).toEqual(['current', 0])
  })

  test('also one that revokes the key it is signed with', async () => {
    const text = await set(1, { keys: [bob.jwk], revoked: { keys: [alice.id] } })
    const program = start(() => text)
    await program.clock.pass(0)
    program.clock.jump(30 * 24 * hour)
    program.updater.checkExpiry()
    program.clock.jump(-30 * 24 * hour)
    await program.updater.refresh()
    expect([program.updater.status().state, program.updater.status().failures]).toEqual(['current', 0])
  })

  test('makes the source be asked without an etag for the first connection that is refused, not at a moment that is the same for a whole fleet', async () => {
    const text = await set(1, { refreshMs: hour })
    const program = start(() => ({ text, etag: '"1"' }))
    await program.clock.pass(0)
    const next = program.updater.status().nextRefresh
    program.clock.jump(8 * 24 * hour)
    program.updater.checkExpiry()
    expect([program.updater.status().nextRefresh, program.updater.mayRetry]).toEqual([next, true])
    await program.updater.beforeRefusal()
    expect(program.source.requests.map(({ etag }) => etag)).toEqual([undefined, undefined])
  })

  test.each([['refuse', 1, /and version 1, which has expired, is still the newest: down/], ['bootstrap', undefined, /and the bootstrap pins stay in force: down/]] as const)('is what reports tell of afterwards (%s)', async (onExpiredSet, version, message) => {
    const program = start(async () => await set(1), { onExpiredSet })
    await program.clock.pass(0)
    program.source.answer = () => new Error('down')
    program.clock.jump(8 * 24 * hour)
    program.updater.checkExpiry()
    await program.updater.refresh()
    expect([program.reports.at(-2)?.version, program.reports.at(-1)?.version]).toEqual([1, version])
    expect(String(program.reports.at(-1))).toMatch(message)
  })

  test('is replaced by the next one', async () => {
    const texts = [await set(1, { expires: iso(clock.now() + hour) })]
    const program = start(() => texts.shift() ?? new Error('none'))
    await program.clock.pass(0)
    await program.clock.pass(2 * hour)
    expect(program.updater.status().state).toBe('expired')
    texts.push(await sign(pinSet({ version: 2 }, program.clock.now()), alice))
    await program.updater.refresh()
    expect([program.history, program.updater.status().state]).toEqual([['v1', 'expired v1', 'v2'], 'current'])
  })
})

describe('what requests wait for', () => {
  test('the store, and under before-first-request the source', async () => {
    const answering: Array<(text: string) => void> = []
    const program = start(() => new Promise<string>((resolve) => answering.push(resolve)), { updatePolicy: 'before-first-request' })
    let known = false
    void program.updater.first()?.then(() => (known = true))
    await program.clock.pass(100)
    expect(known).toBe(false)
    answering[0]?.(await set(1))
    while (!known) await program.clock.pass(1)
    expect([program.history, program.updater.first()]).toEqual([['v1'], undefined])
  })

  test('at most for firstRefreshTimeoutMs, whether the source or the store hangs', async () => {
    const hanging: PinSetStore = { name: 'hanging', load: silence, save: silence }
    for (const options of [{ updatePolicy: 'before-first-request' as const }, { store: hanging }]) {
      const program = start(silence, { ...options, firstRefreshTimeoutMs: 1_000 })
      program.clock.busy = () => false
      await program.clock.pass(999)
      expect(program.updater.first()).toBeInstanceOf(Promise)
      await program.clock.pass(1)
      expect(program.updater.first()).toBeUndefined()
    }
  })
})

test('close() ends everything: timers, the request under way, source and store', async () => {
  let closed = 0
  const store: PinSetStore = { ...memoryStore(), close: () => void closed++ }
  const program = start(silence, { store, updatePolicy: 'before-first-request' })
  const first = program.updater.first()
  await program.clock.pass(10)
  await Promise.all([program.updater.close(), program.updater.close(), first])
  expect([program.source.requests[0]?.signal.aborted, program.source.closed, closed, program.clock.pending, program.reports]).toEqual([true, 1, 1, 0, []])
  await program.updater.refresh()
  expect([program.source.requests.length, program.updater.mayRetry, program.updater.status().nextRefresh]).toEqual([1, false, undefined])
})

test.each([
  ['source', { source: 'https://x' as never }, /updates.source: must be a source of pin sets, not a string/],
  ['source.url', { source: Object.assign(new HeldSource(() => ''), { url: 'https://pins.example.com' as never }) }, /updates.source.url: must be a URL object, not a string/],
  ['source.name', { source: { fetch: () => Promise.reject(new Error()) } as never }, /updates.source.name: must be a text that says what it is, without a secret, not undefined/],
  ['source.subscribe', { source: Object.assign(new HeldSource(() => ''), { subscribe: true as never }) }, /updates.source.subscribe: must be a function/],
  ['store.name', { store: { ...memoryStore(), name: '' } }, /updates.store.name/],
  ['store', { store: {} as never }, /updates.store: must be a store/],
  ['audience', { audience: '' }, /updates.audience/],
  ['trustedKeys', { trustedKeys: [] }, /updates.trustedKeys/],
  ['threshold', { threshold: 2 }, /updates.threshold/],
  ['updatePolicy', { updatePolicy: 'later' as never }, /updates.updatePolicy: "later" is not possible; right would be 'background' or 'before-first-request'/],
  ['onExpiredSet', { onExpiredSet: 'allow' as never }, /updates.onExpiredSet/],
  ['onRevoked', { onRevoked: 'kill' as never }, /updates.onRevoked/],
  ['staleRetryMs', { staleRetryMs: -1 }, /updates.staleRetryMs: must be a number from 1/],
  ['fetchTimeoutMs', { fetchTimeoutMs: 0 }, /updates.fetchTimeoutMs/],
  ['maxBytes', { maxBytes: 1e9 }, /updates.maxBytes/],
  ['onUpdate', { onUpdate: 'x' as never }, /updates.onUpdate: must be a function/],
  ['an unknown name', { trustedKey: 1 } as never, /did you mean "trustedKeys"/]
])('an option that cannot be used is named: %s', (_name, options, message) => {
  expect(() => readUpdateOptions({ source: new HeldSource(() => ''), trustedKeys: [alice.publicKey], audience: 'test', ...options })).toThrow(message)
})
