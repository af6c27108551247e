/** Time and chance, handed in so that a simulation can run the same client on time of its own. */
export interface UpdateClock {
  /** Milliseconds since the epoch. */
  now(): number
  /** From 0 (included) to 1 (excluded). */
  random(): number
  /** Calls back once after so many milliseconds; does not keep the process alive. Returns what cancels it. */
  after(ms: number, run: () => void): () => void
  /** Keeps the process alive until what is returned is called: somebody waits for us. Nothing to do on a time that is not the real one. */
  hold?(): () => void
}

export const systemClock: UpdateClock = {
  now: () => Date.now(),
  random: () => Math.random(),
  after: (ms, run) => {
    // Node takes a longer delay for 1 ms.
    const timer = setTimeout(run, Math.min(ms, 2 ** 31 - 1))
    timer.unref()
    return () => clearTimeout(timer)
  },
  hold: () => {
    const timer = setInterval(() => undefined, 2 ** 31 - 1)
    return () => clearInterval(timer)
  }
}
