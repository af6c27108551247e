import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'

const run = promisify(execFile)

// The short form of bench/fleet: the built library's own updater, a few hundred clients, the same seed, so the same result every time.
test('a fleet spreads its requests: after a mass restart, through an outage and after it, and when its set expires', async () => {
  const { stdout } = await run(process.execPath, [join(__dirname, '../../bench/fleet/main.mjs'), '--json', '--clients', '400', '--window', '900'], { timeout: 120_000, maxBuffer: 10_000_000 })
  const { life, cold, spread, coldOutage, out } = JSON.parse(stdout)
  // No request is lost, none is made twice: each client asks once per interval.
  expect(life.restart.mean / life.even).toBeCloseTo(1, 1)
  expect(life.restart.peakOverMean).toBeLessThan(1.5)
  expect(spread.peakOverEven).toBeLessThan(1.5)
  // All at once is what was asked for; but they do not stay in step.
  expect(cold.afterFirstOverEven).toBeLessThan(1.5)
  const minutes = (ms: number) => ms / 60_000
  expect(minutes(life.rollout.half)).toBeLessThan(40)
  expect(minutes(life.rollout.all)).toBeLessThan(67)
  expect(life.outage.peakOverEven).toBeLessThan(7)
  expect(life.recovery.peakOverEven).toBeLessThan(3)
  expect(minutes(life.recovery.all)).toBeLessThan(61)
  expect(coldOutage.afterFirstOverEven).toBeLessThan(7)
  expect(out.peakOverEven).toBeLessThan(7)
}, 130_000)
