import type { AxiosInstance } from 'axios'
import { types } from 'node:util'
import type { Handler, PrivateConfigs } from './private-configs.js'
import type { Config } from './guard.js'
import type { Sealer } from './seal.js'

type Visit = (handler: unknown) => void
type ForEach = (this: unknown, visit: Visit) => void

/** The functions put into managers of interceptors, and in the place of managers. */
const guards = new WeakSet<object>()

/**
 * axios asks its interceptor managers for the handlers of each request by `forEach`. Ours come before and after all others,
 * so they are the first and the last to run in either order axios knows, whatever becomes of the list; `synchronous` leaves
 * the others' timing as it is. The others are asked with the configs that everybody knows.
 *
 * @returns `hold` says whether that is still so, `undefined` when the instance is gone
 */
export function guardInterceptors(instance: AxiosInstance, sealer: Sealer): { undo: () => void; hold: () => boolean | undefined } {
  const { privately } = sealer
  // Of the request that is being made: both managers are asked in one go.
  let hasInterceptors = false
  const aroundRequest = (forEach: unknown): ForEach => function (visit) {
    let others = false
    const look: Visit = () => void (others = true)
    Reflect.apply(forEach as ForEach, this, [look])
    if (others) {
      visit(handlerOf(privately.enter))
      Reflect.apply(forEach as ForEach, this, [(handler: unknown) => visit(typeof handler === 'object' && handler !== null ? privately.around(handler as Handler) : handler)])
      visit(handlerOf(privately.enter))
    } else {
      visit(handlerOf((config) => (typeof config === 'object' && config !== null ? sealer.fresh(config as Config) : config)))
    }
    hasInterceptors = others
  }
  const aroundResponse = (forEach: unknown): ForEach => function (visit) {
    if (hasInterceptors) visit(givingBack(privately))
    Reflect.apply(forEach as ForEach, this, [visit])
  }
  const guardManagers = (given: object): Guarded => {
    const interceptors = changeable(given)
    const undo = [guardManager(interceptors, 'request', aroundRequest), guardManager(interceptors, 'response', aroundResponse)]
    return { shown: interceptors, undo: () => undo.forEach((each) => each()) }
  }
  // What axios.create() returns is a function, whose request() keeps to the interceptors it was made with.
  if (typeof instance === 'function') return { undo: guardManagers(instance.interceptors).undo, hold: holdsOf(new WeakRef<object>(instance.interceptors), (interceptors) => interceptors) }
  const holder = instance as Pick<AxiosInstance, 'interceptors'>
  return { undo: guardField(holder, 'interceptors', (interceptors) => guardManagers(interceptors as object)), hold: holdsOf(new WeakRef(holder), ({ interceptors }) => interceptors) }
}

function handlerOf(fulfilled: (config: unknown) => unknown): Handler {
  // A new one each time: forEach shows it to whoever asks.
  return { fulfilled, rejected: undefined, synchronous: true, runWhen: null }
}

function givingBack(privately: PrivateConfigs): Handler {
  const rejected = (reason: unknown): Promise<never> => Promise.reject(privately.giveBack(reason))
  return { fulfilled: (response: unknown) => privately.giveBack(response), rejected, synchronous: false, runWhen: null }
}

/** What is to be seen in the place of what was given: mostly that itself. */
interface Guarded {
  readonly shown: object
  readonly undo: () => void
}

/** One that keeps what is put into it: an object derived from it, where it is frozen or might say one thing and do another. */
function changeable(given: object): object {
  return types.isProxy(given) || !Object.isExtensible(given) ? (Object.create(given) as object) : given
}

/** A manager, and every other that is put in its place. */
function guardManager(interceptors: object, name: 'request' | 'response', around: (forEach: unknown) => ForEach): () => void {
  return guardField(interceptors, name, (manager) => guardForEach(manager as object, around))
}

/** The same of what a manager is given in the place of its `forEach`. */
function guardForEach(given: object, around: (forEach: unknown) => ForEach): Guarded {
  const manager = changeable(given)
  const own = Object.getOwnPropertyDescriptor(manager, 'forEach')
  let forEach = (manager as { forEach?: unknown }).forEach
  let guarded: unknown
  let isOwn = own !== undefined
  const put = (next: unknown): void => {
    forEach = next
    guarded = around(next)
    guards.add(guarded as object)
  }
  put(forEach)
  Object.defineProperty(manager, 'forEach', {
    configurable: true,
    enumerable: own?.enumerable ?? false,
    get: () => guarded,
    set: (next: unknown) => {
      isOwn = true
      put(next)
    }
  })
  const undo = (): void => {
    if (isOwn) Object.defineProperty(manager, 'forEach', { configurable: true, enumerable: true, writable: true, value: forEach })
    else delete (manager as { forEach?: unknown }).forEach
  }
  return { shown: manager, undo }
}

/** What stands in a field is guarded, and whatever is put there later; what cannot be is not put there. */
function guardField(holder: object, name: string, guard: (value: unknown) => Guarded): () => void {
  let value = (holder as Record<string, unknown>)[name]
  let guarded = guard(value)
  const get = (): unknown => guarded.shown
  guards.add(get)
  Object.defineProperty(holder, name, {
    configurable: true,
    enumerable: true,
    get,
    set: (next: unknown) => {
      if (next === value || next === guarded.shown) return
      const before = guarded
      guarded = guard(next)
      value = next
      before.undo()
    }
  })
  return () => {
    guarded.undo()
    Object.defineProperty(holder, name, { configurable: true, enumerable: true, writable: true, value })
  }
}

/** Apart, so that it keeps nothing of the instance alive. */
function holdsOf<T extends object>(watched: WeakRef<T>, interceptorsOf: (holder: T) => unknown): () => boolean | undefined {
  return () => {
    const holder = watched.deref()
    if (holder === undefined) return undefined
    const interceptors = interceptorsOf(holder) as { request?: { forEach?: unknown } }
    const { get } = Object.getOwnPropertyDescriptor(interceptors, 'request') ?? {}
    const forEach = interceptors.request?.forEach
    return get !== undefined && guards.has(get) && typeof forEach === 'function' && guards.has(forEach)
  }
}
