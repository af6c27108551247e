import { BypassError } from '../errors.js'
import type { PinningCore } from '../pinning.js'
import { decide } from './guard.js'
import type { Config, Memory } from './guard.js'
import { UsualRequests } from './usual-requests.js'

type Transform = (this: Config, data: unknown) => unknown
type Transforms = readonly Transform[]

/** Every seal there is, with what it remembers of a config that it has sealed. */
const seals = new WeakMap<Transform, { readonly core: PinningCore; readonly memory: Memory | undefined }>()

/**
 * @returns a function that appends the seal to a config, as its last `transformRequest`, and returns the config. axios runs
 * that with the final config as `this`, after every interceptor and every other transform, right before it picks the
 * adapter; so nothing that a request brings along can change its agents afterwards. Does the same for a config that was
 * sealed before. One with the seal of another pinning may still be on its way there: then a copy is sealed and returned.
 */
export function createSealer(core: PinningCore): (config: Config) => Config {
  const usual = new UsualRequests(core)
  const seal: Transform = function (data) {
    const decision = usual.find(this)
    if (decision) put(this, decision, listFor(this['transformRequest'], decision))
    else sealNow(this, core, undefined)
    return data
  }
  seals.set(seal, { core, memory: undefined })
  // The same while requests bring the same transforms: before they are sealed, and after.
  let list = freeze([], seal)
  const sealedLists = new Map<Memory, { readonly from: unknown; readonly to: Transforms }>()

  return (config) => {
    const transforms = config['transformRequest']
    if (transforms === list) return config
    if (!isSame(transforms, list)) {
      const given = asArray(transforms)
      const earlier = given.filter((each) => seals.has(each))
      const [first = seal] = earlier
      const isOwn = earlier.every((each) => seals.get(each)?.core === core)
      const last = isOwn && earlier.length <= 1 ? first : recalling(seals.get(first)?.memory, core)
      const next = freeze(given, last)
      if (last !== seal) return set(isOwn ? config : copyOf(config), 'transformRequest', next)
      list = next
    }
    return set(config, 'transformRequest', list)
  }

  function listFor(from: unknown, decision: Memory): Transforms {
    const known = sealedLists.get(decision)
    if (known?.from === from) return (known as { to: Transforms }).to
    const to = freeze(asArray(from), known?.to.at(-1) ?? recalling(decision, core))
    sealedLists.set(decision, { from, to })
    return to
  }
}

/** A seal for one config, or for all that are alike. */
function recalling(memory: Memory | undefined, core: PinningCore): Transform {
  const seal: Transform = function (data) {
    sealNow(this, core, memory)
    return data
  }
  seals.set(seal, { core, memory })
  return seal
}

/** Sent again, the config brings a seal that knows what was given. */
function sealNow(config: Config, core: PinningCore, memory: Memory | undefined): void {
  const decision = decide(config, core, memory)
  if (decision) put(config, decision, freeze(asArray(config['transformRequest']), recalling(decision, core)))
}

function put(config: Config, { sealed }: Memory, transforms: Transforms): void {
  try {
    // Quicker than one by one; and all that is needed, unless something stands in the way.
    Object.assign(config, sealed)
  } catch {
    // See set().
  }
  for (const name of Object.keys(sealed)) if (config[name] !== sealed[name as keyof typeof sealed]) set(config, name, sealed[name as keyof typeof sealed])
  set(config, 'transformRequest', transforms)
}

/** A transform that runs before the seal cannot take it out. */
function freeze(transforms: Transforms, seal: Transform): Transforms {
  return Object.freeze([...transforms.filter((each) => !seals.has(each)), seal])
}

/** Whether a request brings the transforms of a list, with or without the seal at its end. */
function isSame(transforms: unknown, list: Transforms): boolean {
  if (!Array.isArray(transforms) || (transforms.length !== list.length - 1 && transforms.length !== list.length)) return false
  // A loop, since every() leaves out what an array does not have.
  for (let i = 0; i < transforms.length; i++) if (transforms[i] !== list[i]) return false
  return true
}

/** Also where a setter or a class stands in the way. @throws {BypassError} where the value does not stay */
function set(config: Config, name: string, value: unknown): Config {
  if (Reflect.set(config, name, value) && config[name] === value) return config
  Object.defineProperty(config, name, { value, writable: true, enumerable: true, configurable: true })
  if (config[name] !== value) throw new BypassError(name, 'the config does not let it be set; right would be an ordinary object')
  return config
}

function copyOf(config: Config): Config {
  return Object.assign(Object.create(Object.getPrototypeOf(config) as object | null) as Config, config)
}

function asArray(transforms: unknown): Transforms {
  return (Array.isArray(transforms) ? (transforms as unknown[]) : [transforms]).filter((each) => typeof each === 'function') as Transform[]
}
