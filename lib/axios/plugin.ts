import axios from 'axios'
import type { AxiosInstance, CreateAxiosDefaults, InternalAxiosRequestConfig } from 'axios'
import { PolicyInvalidError } from '../errors.js'
import { describeType } from '../pin/pin.js'
import type { PolicyOptions, PolicySummary } from '../policy/policy-set.js'
import { PinningCore, dispatcherOf } from '../pinning.js'
import type { PinningOptions, PinningStatus } from '../pinning.js'
import type * as https from 'node:https'
import type { UndiciDispatcher } from '../transport/dispatcher.js'
import type { Config } from './guard.js'
import { guardInterceptors } from './interceptors.js'
import { Sealer } from './seal.js'

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
   * also survives interceptors that are cleared, ejected, or run later and return another config, or change it later.
   */
  readonly interceptor: (config: InternalAxiosRequestConfig) => InternalAxiosRequestConfig
  /**
   * Pins an instance, and every instance made by its `create()`. Attaching the same one again changes nothing.
   * @returns a function that restores the instance exactly, as `detach` does
   * @throws {PolicyInvalidError} when another pinning is attached to it
   */
  attach(instance: AxiosInstance): () => void
  /** Restores an instance that this pinning is attached to: it is not pinned any more. Does nothing to others. */
  detach(instance: AxiosInstance): void
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
  /**
   * Closes every socket, ends the updates, and delivers the reports that wait, within two seconds. Instances stay pinned:
   * what they send afterwards goes over new connections, judged by the same policy.
   */
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
 * {@link PinningError}. Does not affect `axios.create(instance.defaults)`, nor what `import { create } from 'axios'` makes,
 * which are instances of their own.
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
  const sealer = new Sealer(core)
  const interceptor = (config: InternalAxiosRequestConfig): InternalAxiosRequestConfig => {
    return isConfig(config) ? (sealer.inPlace(config as unknown as Config) as unknown as InternalAxiosRequestConfig) : config
  }
  return {
    agent: core.agent,
    get dispatcher() {
      return dispatcherOf(core)
    },
    interceptor,
    attach: (instance) => attach(instance, interceptor, sealer, core),
    detach: (instance) => {
      const present = (instance as Pinnable)[attachment]
      if (present?.interceptor === interceptor) present.detach()
    },
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

function attach(instance: Pinnable, interceptor: Pinning['interceptor'], sealer: Sealer, core: PinningCore): () => void {
  checkInstance(instance)
  const present = instance[attachment]
  if (present?.interceptor === interceptor) return present.detach
  if (present) throw new PolicyInvalidError('instance', 'another pinning is attached to it already; right would be update(pins) of that one for other pins, or its detach(instance) first')

  const guarded = guardInterceptors(instance, sealer)
  const undo = [core.watchInstance(guarded.hold), guarded.undo, pinOffspring(instance, (offspring) => attach(offspring, interceptor, sealer, core))]
  const detach = (): void => {
    if (instance[attachment]?.interceptor !== interceptor) return
    for (const each of undo) each()
    delete instance[attachment]
  }
  Object.defineProperty(instance, attachment, { value: { interceptor, detach }, configurable: true })
  return detach
}

/** Instances made by `instance.create()` are pinned too. */
function pinOffspring(instance: AxiosInstance, pin: (offspring: AxiosInstance) => void): () => void {
  const create = (instance as { create?: AxiosInstance['create'] }).create
  if (typeof create !== 'function') return () => undefined
  const own = Object.getOwnPropertyDescriptor(instance, 'create')
  instance.create = function (...args) {
    const offspring = create.apply(this, args)
    pin(offspring)
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

function isConfig(value: unknown): boolean {
  return (typeof value === 'object' && value !== null) || typeof value === 'function'
}
