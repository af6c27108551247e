import { backOff, jitter, spread, withinLifetime } from '../../lib/update/schedule.js'

const hour = 3_600_000

test('a regular refresh is a tenth early or late at most', () => {
  expect([jitter(hour, 0), jitter(hour, 0.5), jitter(hour, 0.999999)].map(Math.round)).toEqual([3_240_000, 3_600_000, 3_959_999])
})

test('spread clients ask evenly from the first moment on, and go on so', () => {
  // A renewal process: the first moment by spread(), each next by jitter(). In every tenth of an interval as many ask.
  const perTenth = new Array<number>(40).fill(0)
  let state = 1
  const random = () => (state = (state * 48_271) % 2_147_483_647) / 2_147_483_647
  const clients = 50_000
  for (let client = 0; client < clients; client++) {
    for (let at = spread(1, random(), random()); at < 4; at += jitter(1, random())) (perTenth[Math.floor(at * 10)] as number)++
  }
  for (const count of perTenth) expect(Math.abs(count / (clients / 10) - 1)).toBeLessThan(0.06)
})

test('the back-off grows from a sixteenth of the interval to the whole, each time from zero on', () => {
  expect([1, 2, 3, 4, 5, 6, 1_000].map((failures) => backOff(failures, hour, 1) / hour)).toEqual([1 / 16, 1 / 8, 1 / 4, 1 / 2, 1, 1, 1])
  expect(backOff(3, hour, 0)).toBe(0)
  // Where the interval is short: seconds, but never more than the interval.
  expect([1, 2, 10].map((failures) => backOff(failures, 5_000, 1))).toEqual([2_000, 4_000, 5_000])
  expect(backOff(1, 1_000, 1)).toBe(1_000)
})

test('before a set expires it is asked for up to four times as often, however near the end is', () => {
  const month = 720 * hour
  expect(withinLifetime(hour, 10 * hour, month)).toBe(hour)
  expect(withinLifetime(hour, hour, month)).toBe(hour / 2)
  for (const left of [hour / 3, 60_000, 1, 0, -1]) expect(withinLifetime(hour, left, month)).toBe(hour / 4)
  expect(withinLifetime(2_000, 1, month)).toBe(1_000)
  expect(withinLifetime(hour, Infinity, Infinity)).toBe(hour)
})

test('a set that lives shorter than the interval is asked for three times before it expires', () => {
  const life = 8 * hour
  const asked: number[] = []
  for (let at = 0; at < life; at += withinLifetime(168 * hour, life - at, life)) asked.push(at / hour)
  expect(asked).toEqual([0, 4, 6, 7])
})
