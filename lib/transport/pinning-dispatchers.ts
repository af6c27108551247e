/** Those that dispatcher.ts has made; apart, so that asking does not load it. */
export const pinningDispatchers = new WeakSet<object>()

/** Whether a dispatcher is one of ours, of any pinning; not what its `compose()` makes of it. */
export function isPinningDispatcher(value: unknown): boolean {
  return pinningDispatchers.has(value as object)
}
