import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { UpdateReport } from '../../lib/report/update-report.js'
import { fileStore } from '../../lib/update/file-store.js'
import type { PinSet } from '../../lib/update/manifest.js'
import { readUpdateOptions } from '../../lib/update/options.js'
import type { UpdateOptions } from '../../lib/update/options.js'
import { Updater } from '../../lib/update/updater.js'
import { HeldClock, HeldSource, createSigner, iso, pinSet, sign } from '../support/pin-sets.js'

let folder: string
let clock: HeldClock
const running: Updater[] = []
beforeEach(() => {
  folder = mkdtempSync(join(tmpdir(), 'axios-ssl-pinning-restart-'))
  clock = new HeldClock()
})
afterEach(async () => {
  for (const updater of running.splice(0)) await updater.close()
  rmSync(folder, { recursive: true, force: true })
})

const signer = createSigner()
const hour = 3_600_000

/** One run of a program, with whatever the runs before it have left in the folder. */
async function start(source: HeldSource, options: Partial<UpdateOptions> = {}) {
  const reports: UpdateReport[] = []
  const inForce: PinSet[] = []
  const settings = readUpdateOptions({ source, trustedKeys: [signer.publicKey], audience: 'test', store: fileStore(folder), ...options })
  const updater = new Updater(settings, {
    fetch: (request) => source.fetch({ ...request, agent: undefined as never }),
    prepare: (set) => Promise.resolve(() => inForce.push(set) && 0),
    expire: () => undefined,
    revision: () => 0,
    tell: (report) => reports.push(report)
  }, clock)
  running.push(updater)
  updater.start()
  // Until it has asked, or knows when it will.
  await until(() => updater.status().nextRefresh !== undefined && !updater.status().refreshing)
  return { updater, reports, inForce, version: () => updater.status().version }
}

/** Files are read and written meanwhile, in real time. */
async function until(condition: () => boolean): Promise<void> {
  for (const end = performance.now() + 20_000; !condition(); await new Promise((resume) => setTimeout(resume, 5))) {
    if (performance.now() > end) throw new Error('waited in vain')
  }
}

const version = (number: number, ...signers: Parameters<typeof sign>[1][]) => sign(pinSet({ version: number }, clock.now()), ...(signers.length > 0 ? signers : [signer]))

function damage(): void {
  for (const file of readdirSync(folder)) if (/^\d+\./.test(file)) writeFileSync(join(folder, file), 'damaged')
}

test('the set outlives the program, which need not ask at its start; nor do others at the same moment', async () => {
  const first = new HeldSource(() => version(5))
  await start(first)
  expect(first.requests).toHaveLength(1)
  const next = new HeldSource(() => version(6))
  clock.chance = 0.25
  const { updater, reports } = await start(next)
  expect([next.requests.length, updater.status().state, updater.status().version, reports.map(({ result }) => result)]).toEqual([0, 'current', 5, ['restored']])
  // A quarter into an interval that is 5 % early.
  expect(updater.status().nextRefresh).toBe(iso(clock.now() + 0.25 * 0.95 * hour))
  await clock.pass(0.25 * 0.95 * hour)
  await until(() => updater.status().version === 6 && !updater.status().refreshing)
  expect([next.requests.length, updater.status().version]).toEqual([1, 6])
  // From then on at regular intervals.
  expect(Date.parse(updater.status().nextRefresh as string) - clock.now()).toBeCloseTo(0.95 * hour, -3)
})

test('rollback: an older set, even one that is signed and good, is refused after a restart', async () => {
  await start(new HeldSource(() => version(5)))
  const { updater, reports, inForce } = await start(new HeldSource(() => version(4)))
  await updater.refresh()
  expect([updater.status().version, inForce.map((set) => set.version)]).toEqual([5, [5]])
  expect(reports.at(-1)).toMatchObject({ result: 'rejected', error: { reason: 'rollback' } })
})

test('a damaged store: its set does not count, and still nothing older is taken', async () => {
  await start(new HeldSource(() => version(5)))
  damage()
  const texts = [await version(4)]
  const { updater, reports, inForce } = await start(new HeldSource(() => texts[0] as string))
  expect([inForce, reports.map(({ result }) => result)]).toEqual([[], ['unavailable', 'rejected']])
  expect(reports[0]?.error?.message).toContain('no version below 5 is accepted')
  texts[0] = await version(6)
  await updater.refresh()
  expect(updater.status().version).toBe(6)
  expect((await fileStore(folder).load())?.version).toBe(6)
})

test('a damaged store: the signing keys that came about are known from the version before', async () => {
  const [second, third] = [createSigner(), createSigner()]
  const texts = [await sign(pinSet({ version: 1, keys: [second.jwk as never] }, clock.now()), signer)]
  const source = () => new HeldSource(() => texts[0] as string)
  const run = await start(source())
  for (const text of [await sign(pinSet({ version: 2, keys: [third.jwk as never] }, clock.now()), second), await version(3, third)]) {
    texts[0] = text
    await run.updater.refresh()
  }
  expect(run.version()).toBe(3)
  for (const file of readdirSync(folder)) if (file.startsWith('3.')) writeFileSync(join(folder, file), 'damaged')
  texts[0] = await version(4, third)
  expect((await start(source())).version()).toBe(4)
  // Without that, a set signed with the third key would be a stranger's.
  rmSync(folder, { recursive: true })
  const stranger = await start(source())
  expect([stranger.version(), stranger.reports.at(-1)]).toEqual([undefined, expect.objectContaining({ result: 'rejected' })])
})

test("a program without a stored set asks at once; with firstRefresh: 'spread' in the course of the first interval", async () => {
  const eager = new HeldSource(() => version(1))
  await start(eager)
  expect(eager.requests).toHaveLength(1)
  rmSync(folder, { recursive: true })
  const patient = new HeldSource(() => version(1))
  const { updater } = await start(patient, { firstRefresh: 'spread' })
  expect([patient.requests.length, updater.status().state, updater.status().nextRefresh]).toEqual([0, 'bootstrap', iso(clock.now() + 0.5 * hour)])
  // A refusal by the bootstrap pins does not wait for that.
  await updater.beforeRefusal()
  expect([patient.requests.length, updater.status().version]).toEqual([1, 1])
  // Nor do programs whose store is damaged, or that must not begin without a set.
  damage()
  const careful = new HeldSource(() => version(1))
  await start(careful, { firstRefresh: 'spread' })
  expect(careful.requests).toHaveLength(1)
  rmSync(folder, { recursive: true })
  const first = new HeldSource(() => version(1))
  await start(first, { firstRefresh: 'spread', updatePolicy: 'before-first-request' })
  expect(first.requests).toHaveLength(1)
  await expect(start(first, { firstRefresh: 'later' as never })).rejects.toThrow(/firstRefresh/)
})

test('after an outage, and after news, the next look is at a moment of its own', async () => {
  let answer: () => Promise<string> | Error = () => new Error('ECONNREFUSED')
  const source = new HeldSource(() => answer())
  const { updater } = await start(source)
  clock.chance = 0.5
  answer = () => version(1)
  await clock.pass(hour / 32)
  await until(() => updater.status().state === 'current' && !updater.status().refreshing)
  const last = Date.parse(updater.status().lastChecked as string)
  expect(Date.parse(updater.status().nextRefresh as string) - last).toBeCloseTo(0.5 * hour, -4)
})
