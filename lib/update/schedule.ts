/** A tenth more or less, so that clients that were started together do not stay in step. */
export function jitter(ms: number, random: number): number {
  return ms * (0.9 + 0.2 * random)
}

/**
 * Any moment of the next interval: for a client that was started, or comes back, together with many others. As likely as those
 * of clients that have long been running are, so that their number at any moment is even from the beginning.
 */
export function spread(ms: number, random: number, other: number): number {
  return random * jitter(ms, other)
}

/**
 * Exponential back-off with full jitter: anything up to a sixteenth of the usual interval after the first failure, an eighth
 * after the second, … up to the interval itself; a second is the least of these.
 *
 * @param halfFirstMs half of the first wait, at most
 */
export function backOff(failures: number, ms: number, random: number, halfFirstMs = Math.max(1_000, ms / 32)): number {
  return random * Math.min(ms, halfFirstMs * 2 ** Math.min(failures, 30))
}

/**
 * Early enough that a set is replaced before it expires, also one that does not live as long as the interval is; but a fleet whose set
 * runs out asks four times as often at most, however near the end is.
 *
 * @param leftMs until the set expires
 * @param lifeMs from its date of issue to that
 */
export function withinLifetime(ms: number, leftMs: number, lifeMs: number): number {
  return Math.min(ms, Math.max(1_000, Math.min(ms, lifeMs / 2) / 4, leftMs / 2))
}
