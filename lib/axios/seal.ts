import axios from 'axios'
import { BypassError } from '../errors.js'
import type { PinningCore } from '../pinning.js'
import { decide, lock } from './guard.js'
import type { Config, Fields, Memory } from './guard.js'
import { PrivateConfigs } from './private-configs.js'
import type { Transform } from './private-configs.js'
import { UsualRequests } from './usual-requests.js'

/** Every seal there is, with what it remembers of a config that it has sealed. */
const seals = new WeakMap<Transform, { readonly core: PinningCore; readonly memory: Memory | undefined }>()

/** What axios itself puts there, unless somebody has put something else in its place. */
const ownTransform = ([axios.defaults.transformRequest].flat() as unknown[]).find((each) => typeof each === 'function' && Function.prototype.toString.call(each).includes('isURLSearchParams(data)'))

/**
 * Seals configs: a last `transformRequest`, which axios runs right before it picks the adapter, gives the config the pinned
 * agents and whatever else decides the connection.
 */
export class Sealer {
  readonly #core: PinningCore
  readonly #usual: UsualRequests
  readonly #seal: Transform
  /** For the chain of interceptors: what axios sends is then no object that anybody else knows. */
  readonly privately: PrivateConfigs

  constructor(core: PinningCore) {
    this.#core = core
    this.#usual = new UsualRequests(core)
    const sealNow = (config: Config, data: unknown): void => this.#sealNow(config, [ownTransform], undefined, data)
    this.#seal = function (data) {
      sealNow(this, data)
      return data
    }
    seals.set(this.#seal, { core, memory: undefined })
    this.privately = new PrivateConfigs(
      (config, data) => {
        const { others, memory } = readTransforms(config['transformRequest'])
        this.#sealNow(config, others, memory, data)
      },
      (transform) => seals.has(transform as Transform)
    )
  }

  /** Where there are no interceptors: a config that axios has just made, which nobody else can know. */
  fresh(config: Config): Config {
    const transforms = config['transformRequest']
    // A transform of somebody else is given the config.
    if (!Array.isArray(transforms) || transforms.length !== 1 || transforms[0] !== ownTransform || ownTransform === undefined) return this.privately.only(config)
    config['transformRequest'] = [ownTransform, this.#seal]
    return config
  }

  /**
   * Appends the seal to the config itself, and returns it. One with the seal of another pinning may still be on its way
   * there: then, and where a config cannot be changed, a copy is sealed and returned.
   */
  inPlace(config: Config): Config {
    const { others, earlier, memory } = readTransforms(config['transformRequest'])
    const isOwn = earlier.every((each) => seals.get(each)?.core === this.#core)
    const isOpen = typeof config === 'object' && Object.isExtensible(config) && Object.getOwnPropertyDescriptor(config, 'adapter')?.configurable !== false
    return set(isOwn && isOpen ? config : copyOf(config), 'transformRequest', Object.freeze([...others, lockingSeal(this.#core, memory)]))
  }

  #sealNow(config: Config, transforms: readonly unknown[], memory: Memory | undefined, data: unknown): void {
    const decision = (memory ? undefined : this.#usual.find(config)) ?? decide(config, this.#core, memory)
    if (!decision) return void (config['transformRequest'] = transforms)
    Object.assign(config, decision.sealed)
    // Something on Object.prototype may have kept a value from arriving.
    if (Object.getPrototypeOf(config) !== null) for (const name of Object.keys(decision.sealed) as Array<keyof Fields>) if (config[name] !== decision.sealed[name]) set(config, name, decision.sealed[name])
    // axios waits for the length of a form, and then reads on; an abort in between shows the config to the user.
    const remembered = isAwaited(data) ? lock(config, decision) : decision
    // Sent again, the config brings a seal that knows what was given.
    config['transformRequest'] = [...transforms, recalling(remembered, this.#core)]
  }
}

/** A seal for a config that others know too, and may change until axios has read it. */
function lockingSeal(core: PinningCore, memory: Memory | undefined): Transform {
  const seal: Transform = function (data) {
    const decision = decide(this, core, memory)
    if (decision) {
      const { others } = readTransforms(this['transformRequest'])
      set(this, 'transformRequest', [...others, recalling(lock(this, decision), core)])
    }
    return data
  }
  seals.set(seal, { core, memory })
  return seal
}

function recalling(memory: Memory, core: PinningCore): Transform {
  let seal = recallingOf.get(memory)
  if (!seal) recallingOf.set(memory, (seal = lockingSeal(core, memory)))
  return seal
}

const recallingOf = new WeakMap<Memory, Transform>()

/** The user's own transforms, as given; the seals among them, and what the first of these remembers. */
function readTransforms(transforms: unknown): { others: unknown[]; earlier: Transform[]; memory: Memory | undefined } {
  const given: unknown[] = Array.isArray(transforms) ? transforms : transforms === undefined || transforms === null ? [] : typeof transforms === 'object' ? Object.values(transforms) : [transforms]
  const earlier = given.filter((each): each is Transform => seals.has(each as Transform))
  return { others: earlier.length > 0 ? given.filter((each) => !seals.has(each as Transform)) : [...given], earlier, memory: earlier[0] && seals.get(earlier[0])?.memory }
}

/** Whether axios may ask the body for its length, and wait for the answer. */
function isAwaited(data: unknown): boolean {
  return (typeof data === 'object' && data !== null && !ArrayBuffer.isView(data)) || typeof data === 'function'
}

/** Also where a setter or a class stands in the way. @throws {BypassError} where the value does not stay */
function set(config: Config, name: string, value: unknown): Config {
  if (Reflect.set(config, name, value) && config[name] === value) return config
  Object.defineProperty(config, name, { value, writable: true, enumerable: true, configurable: true })
  if (config[name] !== value) throw new BypassError(name, 'the config does not let it be set; right would be an ordinary object')
  return config
}

function copyOf(config: Config): Config {
  return Object.assign(Object.create(typeof config === 'function' ? null : (Object.getPrototypeOf(config) as object | null)) as Config, config)
}
