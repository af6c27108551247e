// Side by side: every round runs every contestant once, in any order, and its ratios are taken within the round. So what
// disturbs the machine for a second disturbs all of them; medians and the spread over the rounds are reported. Nobody's time
// begins with what the one before has left to be cleared away: each has a lead-in that is not counted.

/**
 * @typedef {{ name: string, run: (count: number) => Promise<unknown>, close?: () => unknown }} Contestant
 * @typedef {{ name: string, perSecond: number, cpuMicros: number, ratio: Spread, cpuRatio: Spread, overRecipe?: Spread }} Score
 * @typedef {{ median: number, low: number, high: number }} Spread low and high are the quartiles
 */

/**
 * @param {Contestant[]} contestants the first is what the others are measured against
 * @param {{ rounds: number, count: number, warm?: number }} options `count` operations each per round
 * @returns {Promise<Score[]>}
 */
export async function sideBySide(contestants, { rounds, count, warm = Math.ceil(count / 4) }) {
  for (const { run } of contestants) await run(warm)
  /** @type {Array<Array<{ seconds: number, cpu: number }>>} */
  const times = contestants.map(() => [])
  for (let round = 0; round < rounds; round++) {
    // Not before each: a forced collection takes compiled code with it, which the next second then pays for.
    global.gc?.()
    for (const at of shuffled(contestants.length)) {
      const { run } = /** @type {Contestant} */ (contestants[at])
      await run(Math.ceil(count / 5))
      const cpu = process.cpuUsage()
      const started = performance.now()
      await run(count)
      const seconds = (performance.now() - started) / 1000
      const { user, system } = process.cpuUsage(cpu)
      times[at]?.push({ seconds, cpu: (user + system) / count })
    }
  }
  const scores = contestants.map(({ name }, at) => {
    const own = times[at] ?? []
    const base = times[0] ?? []
    const recipe = times[contestants.findIndex((each) => each.name.startsWith('recipe'))]
    return {
      name,
      perSecond: count / spread(own.map(({ seconds }) => seconds)).median,
      cpuMicros: spread(own.map(({ cpu }) => cpu)).median,
      ratio: spread(own.map(({ seconds }, round) => (base[round]?.seconds ?? NaN) / seconds)),
      cpuRatio: spread(own.map(({ cpu }, round) => cpu / (base[round]?.cpu ?? NaN))),
      ...(recipe && { overRecipe: spread(own.map(({ seconds }, round) => (recipe[round]?.seconds ?? NaN) / seconds)) })
    }
  })
  for (const { close } of contestants) await close?.()
  return scores
}

/** 0 to `length` - 1 in any order: with a fixed one, the same contestants would follow the same ones in every run. @param {number} length */
function shuffled(length) {
  const order = Array.from({ length }, (_, i) => i)
  for (let i = length - 1; i > 0; i--) {
    const other = Math.floor(Math.random() * (i + 1))
    ;[order[i], order[other]] = [Number(order[other]), Number(order[i])]
  }
  return order
}

/** @param {number[]} values */
export function spread(values) {
  const sorted = [...values].sort((a, b) => a - b)
  const at = (/** @type {number} */ q) => {
    const place = (sorted.length - 1) * q
    const [below, above] = [sorted[Math.floor(place)] ?? NaN, sorted[Math.ceil(place)] ?? NaN]
    return below + (above - below) * (place - Math.floor(place))
  }
  return { median: at(0.5), low: at(0.25), high: at(0.75) }
}

/**
 * @param {number} count
 * @param {number} concurrency
 * @param {() => Promise<unknown>} operation
 */
export async function repeat(count, concurrency, operation) {
  let left = count
  const worker = async () => {
    while (left-- > 0) await operation()
  }
  await Promise.all(Array.from({ length: concurrency }, worker))
}
