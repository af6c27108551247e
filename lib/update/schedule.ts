/** A tenth more or less, so that clients that were started together do not stay in step. */
export function jitter(ms: number, random: number): number {
  return ms * (0.9 + 0.2 * random)
}

/** Exponential back-off with full jitter: anything up to 2 s after the first failure, 4 s after the second, … up to `most`. */
export function backOff(failures: number, most: number, random: number): number {
  return random * Math.min(most, 1_000 * 2 ** Math.min(failures, 30))
}

/** Early enough that a set is replaced before it expires; never more often than once in a second. */
export function withinLifetime(ms: number, leftMs: number): number {
  return Math.min(ms, Math.max(1_000, leftMs / 2))
}
