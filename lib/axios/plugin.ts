import axios from 'axios'
import type { AxiosInstance, AxiosInterceptorManager, CreateAxiosDefaults, InternalAxiosRequestConfig } from 'axios'
import { PolicyInvalidError } from '../errors.js'
import { describeType } from '../pin/pin.js'
import type { PolicyOptions, PolicySummary } from '../policy/policy-set.js'
import { PinningCore, dispatcherOf } from '../pinning.js'
import type { PinningOptions, PinningStatus } from '../pinning.js'
import type * as https from 'node:https'
import type { UndiciDispatcher } from '../transport/dispatcher.js'
import type { Config } from './guard.js'
import { createSealer } from './seal.js'

/** One policy, for one or several axios instances and agents. */
export interface Pinning {
  /** An `https.Agent` that connects to pinned peers only. */
  readonly agent: https.Agent
  /**
   * An undici dispatcher that connects to pinned peers only, for `fetch(url, { dispatcher })` and `undici.request`; as
   * made by `createPinningDispatcher`.
   * @throws {PolicyInvalidError} when undici is not installed, or the option `proxy` names a proxy
   */
  readonly dispatcher: UndiciDispatcher
  /**
   * A request interceptor, Dio's way: `instance.interceptors.request.use(pinning.interceptor)`. `attach` does the same and
   * also survives interceptors that are cleared, ejected, or run later and return another config.
   */
  readonly interceptor: (config: InternalAxiosRequestConfig) => InternalAxiosRequestConfig
  /**
   * Pins an instance, and every instance made by its `create()`. Attaching the same one again changes nothing.
   * @returns a function that restores the instance exactly
   * @throws {PolicyInvalidError} when another pinning is attached to it
   */
  attach(instance: AxiosInstance): () => void
  /**
   * Swaps the whole policy at once; the next request already meets it. Nothing changes when it throws.
   * @param pins an array means `allowedSHAFingerprints`, an object means `pins`
   * @throws {PolicyInvalidError | PinInvalidError | TypeError} naming the option
   */
  update(pins: NonNullable<PolicyOptions['allowedSHAFingerprints'] | PolicyOptions['pins']>): void
  /** What would be asked of a host, or of a URL's host and port; `undefined` when it is unpinned. */
  policyFor(target: string | URL): PolicySummary | undefined
  /** Mode, revision, expiries, warnings and counters. JSON-safe. */
  status(): PinningStatus
  /** Looks for a new signed pin set now (`updates`); ends when it has been judged. Never rejects: see `onUpdate` and `status()`. */
  refresh(): Promise<void>
  /** Closes every socket, ends the updates, and delivers the reports that wait, within two seconds. */
  close(): Promise<void>
}

/**
 * Pins an axios instance, `axios` itself included: from now on it talks to peers only that the policy accepts.
 *
 * ```ts
 * const api = axios.create({ baseURL: 'https://api.example.com' })
 * pinAxios(api, { allowedSHAFingerprints: ['AB:CD:…', backup] })
 * ```
 *
 * A refusal rejects the request with an `AxiosError` whose `code` is `ERR_PIN_…` and whose `cause` is the
 * {@link PinningError}. Does not affect `axios.create(instance.defaults)`, which makes an instance of its own.
 *
 * @throws {PolicyInvalidError | PinInvalidError | TypeError} naming the option
 */
export function pinAxios(instance: AxiosInstance, options: PinningOptions): Pinning {
  checkInstance(instance)
  const pinning = createPinning(options)
  pinning.attach(instance)
  return pinning
}

/**
 * A pinned axios instance.
 * @param axiosDefaults as for `axios.create`
 * @throws {PolicyInvalidError | PinInvalidError | TypeError} naming the option
 */
export function createPinnedAxios(options: PinningOptions, axiosDefaults?: CreateAxiosDefaults): AxiosInstance {
  const instance = axios.create(axiosDefaults)
  createPinning(options).attach(instance)
  return instance
}

/**
 * A policy and its parts, to share between instances: see {@link Pinning}.
 * @throws {PolicyInvalidError | PinInvalidError | TypeError} naming the option
 */
export function createPinning(options: PinningOptions): Pinning {
  const core = new PinningCore(options)
  const seal = createSealer(core)
  const interceptor = (config: InternalAxiosRequestConfig): InternalAxiosRequestConfig => {
    return isObject(config) ? (seal(config as unknown as Config) as unknown as InternalAxiosRequestConfig) : config
  }
  return {
    agent: core.agent,
    get dispatcher() {
      return dispatcherOf(core)
    },
    interceptor,
    attach: (instance) => attach(instance, interceptor, core),
    update: (pins) => core.update(pins),
    policyFor: (target) => core.policyFor(target),
    status: () => core.status(),
    refresh: () => core.refresh(),
    close: () => core.close()
  }
}

// Shared by every copy of the package in the process.
const attachment = Symbol.for('axios-ssl-pinning.attachment')

interface Attachment {
  readonly interceptor: Pinning['interceptor']
  readonly detach: () => void
}

type Pinnable = AxiosInstance & { [attachment]?: Attachment }

function attach(instance: Pinnable, interceptor: Pinning['interceptor'], core: PinningCore): () => void {
  checkInstance(instance)
  const present = instance[attachment]
  if (present?.interceptor === interceptor) return present.detach
  if (present) throw new PolicyInvalidError('instance', 'another pinning is attached to it already; detach that first')

  const visits = visitFirstAndLast(instance.interceptors, interceptor)
  const undo = [core.watchInstance(visits.hold), visits.undo, pinOffspring(instance, interceptor, core)]
  const detach = (): void => {
    if (instance[attachment]?.interceptor !== interceptor) return
    for (const each of undo) each()
    delete instance[attachment]
  }
  Object.defineProperty(instance, attachment, { value: { interceptor, detach }, configurable: true })
  return detach
}

/**
 * axios asks its interceptor manager for the handlers of each request by `forEach`. Visiting ours before and after all
 * others makes it the first and the last to run in either order axios knows, whatever becomes of the list; `synchronous`
 * leaves the others' timing as it is.
 *
 * @returns `hold` says whether that is still so, `undefined` when the instance is gone
 */
function visitFirstAndLast(interceptors: AxiosInstance['interceptors'], interceptor: Pinning['interceptor']): { undo: () => void; hold: () => boolean | undefined } {
  type Visitable = AxiosInterceptorManager<InternalAxiosRequestConfig> & { forEach(visit: (handler: unknown) => void): void }
  const handler = { fulfilled: interceptor, rejected: undefined, synchronous: true, runWhen: null }
  const guard = (manager: Visitable): Visitable => {
    const { forEach } = manager
    manager.forEach = function (visit) {
      visit(handler)
      forEach.call(this, visit)
      visit(handler)
    }
    guards.add(manager.forEach)
    return manager
  }
  const unguard = (manager: Partial<Visitable>): void => void delete manager.forEach

  let current = guard(interceptors.request as Visitable)
  const get = (): Visitable => current
  guards.add(get)
  // A new manager put in its place is guarded as well.
  Object.defineProperty(interceptors, 'request', {
    configurable: true,
    enumerable: true,
    get,
    set: (manager: Visitable) => {
      unguard(current)
      current = guard(manager)
    }
  })
  const undo = (): void => {
    unguard(current)
    Object.defineProperty(interceptors, 'request', { configurable: true, enumerable: true, writable: true, value: current })
  }
  return { undo, hold: holdsOf(new WeakRef(interceptors)) }
}

/** The functions put into managers of interceptors, and in the place of managers. */
const guards = new WeakSet<object>()

/** Apart, so that it keeps nothing of the instance alive. */
function holdsOf(watched: WeakRef<AxiosInstance['interceptors']>): () => boolean | undefined {
  return () => {
    const interceptors = watched.deref()
    if (interceptors === undefined) return undefined
    const { get } = Object.getOwnPropertyDescriptor(interceptors, 'request') ?? {}
    const { forEach } = interceptors.request as unknown as { forEach?: object }
    return get !== undefined && guards.has(get) && forEach !== undefined && guards.has(forEach)
  }
}

/** Instances made by `instance.create()` are pinned too. */
function pinOffspring(instance: AxiosInstance, interceptor: Pinning['interceptor'], core: PinningCore): () => void {
  const create = (instance as { create?: AxiosInstance['create'] }).create
  if (typeof create !== 'function') return () => undefined
  const own = Object.getOwnPropertyDescriptor(instance, 'create')
  instance.create = function (...args) {
    const offspring = create.apply(this, args)
    attach(offspring, interceptor, core)
    return offspring
  }
  return () => {
    if (own) Object.defineProperty(instance, 'create', own)
    else delete (instance as Partial<AxiosInstance>).create
  }
}

function checkInstance(instance: unknown): void {
  const manager = (instance as Partial<AxiosInstance> | undefined)?.interceptors?.request as { forEach?: unknown } | undefined
  if (typeof manager?.forEach !== 'function') throw new TypeError(`An axios instance is needed, not ${describeType(instance)}`)
}

function isObject(value: unknown): value is object {
  return typeof value === 'object' && value !== null
}
