/**
 * Where a function of the user's is to answer at once, its answer may still be a promise: nobody waits for that one, and
 * when it rejects the process must not end.
 *
 * @param complain is told what it rejects with
 */
export function ignoreRejection(answer: unknown, complain: (error: unknown) => void = () => undefined): void {
  if ((typeof answer !== 'object' && typeof answer !== 'function') || answer === null) return
  try {
    const { then } = answer as { then?: unknown }
    if (typeof then === 'function') Reflect.apply(then, answer, [undefined, complain])
  } catch (error) {
    complain(error)
  }
}
