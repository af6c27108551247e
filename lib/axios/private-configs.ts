import axios from 'axios'
import { BypassError } from '../errors.js'
import { ownOrTemplate, sealedFields } from './guard.js'
import type { Config } from './guard.js'

export type Transform = (this: Config, data: unknown, headers?: unknown, status?: unknown) => unknown

/** What axios asks its interceptor managers for. */
export interface Handler {
  fulfilled: unknown
  rejected: unknown
  readonly synchronous: unknown
  readonly runWhen: unknown
}

interface Pair {
  /** The config that everybody knows. */
  given: Config
}

/**
 * Private configs bear a field that nobody can read, or put on an object of their own. (A WeakMap costs far more here: what it
 * holds keeps the garbage collector busy.)
 */
class Marked extends (function (config: object) {
  return config
} as unknown as new (config: object) => object) {
  readonly #pair: Pair

  constructor(config: object, pair: Pair) {
    super(config)
    this.#pair = pair
  }

  static pairOf(config: object): Pair | undefined {
    return #pair in config ? config.#pair : undefined
  }
}

const { pairOf } = Marked

/** What the transform of a private config stands for, where that may be shown before it is sent. */
const pairs = new WeakMap<Transform, Pair>()

/** Whether this axios sends a copy of whatever is not a plain object without a prototype. */
const sendsCopies = Object.getPrototypeOf((axios as { mergeConfig?: (a: object, b: object) => object }).mergeConfig?.({}, {}) ?? {}) === null

/**
 * What passes from one interceptor to the next, and at last to axios' adapter, is a private config, of which nobody else has
 * a reference; interceptors and transforms get, change and return the one it stands for. So nothing but the seal decides
 * what the adapter reads, whenever and however they change theirs; and theirs is as axios without pins would leave it.
 */
export class PrivateConfigs {
  readonly #seal: (config: Config, data: unknown) => void
  readonly #isSeal: (transform: unknown) => boolean
  readonly #transform: Transform

  /** @param seal gives a private config, which now has all that the other one has, what decides the connection */
  constructor(seal: (config: Config, data: unknown) => void, isSeal: (transform: unknown) => boolean) {
    this.#seal = seal
    this.#isSeal = isSeal
    const dispatch = (config: Config, pair: Pair, data: unknown, headers: unknown): unknown => this.#dispatch(config, pair, data, headers)
    this.#transform = function (data, headers) {
      const pair = pairOf(this)
      if (!pair) throw new BypassError('transformRequest', 'it belongs to another config; right would be one of your own')
      return dispatch(this, pair, data, headers)
    }
  }

  /** The private config for one of the user's. At the second time, before it is sent, it gets what axios reads before the transforms. */
  readonly enter = (config: unknown): unknown => {
    if (!isConfig(config)) return config
    const known = pairOf(config)
    if (known) prepare(config, known.given)
    return known ? config : this.#open(config)
  }

  /** The same, where it is sent at once, and shown in the end. */
  only(given: Config): Config {
    const shared = this.#transform
    const transform: Transform = function (...args) {
      return shared.apply(this, args)
    }
    const config = this.#open(given, transform)
    pairs.set(transform, pairOf(config) as Pair)
    const { transformRequest } = config
    follow(config, given)
    config['transformRequest'] = transformRequest
    return config
  }

  /** An interceptor of the user's, who gets no private config to see; it may fail, and recover, without undoing the seal. */
  around(handler: Handler): Handler {
    return new Around(handler, this)
  }

  /** The private config for what an interceptor has returned. @param config the one it was asked with */
  close(result: unknown, config: Config | undefined): unknown {
    if (!isConfig(result)) return result
    if (config && result === pairOf(config)?.given) return config
    if (typeof result['then'] !== 'function') return this.#open(result)
    return Promise.resolve(result).then((value: unknown) => {
      if (config) this.enter(config)
      return this.close(value, config)
    })
  }

  #open(given: Config, transform = this.#transform): Config {
    const config = Object.create(null) as Config
    new Marked(config, { given })
    config['transformRequest'] = [transform]
    return config
  }

  #dispatch(config: Config, pair: Pair, data: unknown, headers: unknown): unknown {
    const given = (pair.given = sent(pair.given))
    const ownHeaders = config['headers']
    const keeps = Reflect.set(given, 'headers', ownHeaders)
    const transformed = this.#run(given['transformRequest'], given, data, headers)
    Reflect.set(given, 'data', transformed)
    follow(config, given)
    if (!keeps) config['headers'] = ownHeaders
    config['transformRequest'] = originalsOf(given['transformRequest'])
    this.#seal(config, transformed)
    // An older axios shows its users ordinary objects.
    if (Object.getPrototypeOf(given) !== null) Object.setPrototypeOf(config, Object.prototype)
    return transformed
  }

  /** As axios runs them, but without seals. */
  #run(transforms: unknown, config: Config, data: unknown, headers: unknown): unknown {
    if (transforms === undefined || transforms === null) return data
    const list = (typeof transforms !== 'object' ? [transforms] : Array.isArray(transforms) ? transforms : Object.values(transforms)) as unknown[]
    for (let i = 0, { length } = list; i < length; i++) {
      const transform = list[i] as Transform
      if (transform === this.#transform || this.#isSeal(transform)) continue
      const original = pairs.get(transform)
      if (original) data = this.#run(original.given['transformRequest'], config, data, headers)
      else data = transform.call(config, data, (headers as { normalize?: () => unknown } | undefined)?.normalize?.() ?? headers, undefined)
    }
    return data
  }

  /** A response or an error shows the config that everybody knows, with what transforms of the response have put into the other. */
  giveBack<T>(settled: T): T {
    if (!isConfig(settled)) return settled
    this.#giveBackConfig(settled)
    const { response } = settled
    if (isConfig(response)) this.#giveBackConfig(response)
    return settled
  }

  #giveBackConfig(holder: Config): void {
    const { config } = holder
    const given = isConfig(config) ? pairOf(config)?.given : undefined
    if (given === undefined) return
    if (!isOwnResponseTransform((config as Config)['transformResponse'])) {
      for (const name in config as Config) {
        if (!notGivenBack.has(name) && (config as Config)[name] !== given[name]) Reflect.set(given, name, (config as Config)[name])
      }
    }
    Reflect.set(holder, 'config', given)
  }
}

/** Without a field for what it makes: forEach shows it to whoever asks, and may be told of other functions. */
class Around implements Handler {
  readonly #handler: Handler
  readonly #configs: PrivateConfigs
  /** The config that it was last asked with. */
  #config: Config | undefined

  constructor(handler: Handler, configs: PrivateConfigs) {
    this.#handler = handler
    this.#configs = configs
  }

  get fulfilled(): unknown {
    const { fulfilled } = this.#handler
    if (typeof fulfilled !== 'function') return fulfilled
    const ask = (config: unknown, self: unknown): unknown => {
      const given = isConfig(config) ? pairOf(config)?.given : undefined
      // Somebody else than axios has called it.
      if (given === undefined) return Reflect.apply(fulfilled, self, [config])
      this.#config = config as Config
      return this.#configs.close(Reflect.apply(fulfilled, self, [given]), this.#config)
    }
    return function (this: unknown, config: unknown): unknown {
      return ask(config, this)
    }
  }

  set fulfilled(value) {
    this.#handler.fulfilled = value
  }

  /** With synchronous interceptors axios sends the config that the failed one was asked with, whatever this returns. */
  get rejected(): unknown {
    const { rejected } = this.#handler
    if (typeof rejected !== 'function') return rejected
    const close = (result: unknown): unknown => {
      if (this.#config) this.#configs.enter(this.#config)
      return this.#configs.close(result, this.#config)
    }
    return function (this: unknown, error: unknown): unknown {
      return close(Reflect.apply(rejected, this, [error]))
    }
  }

  set rejected(value) {
    this.#handler.rejected = value
  }

  get synchronous(): unknown {
    return this.#handler.synchronous
  }

  get runWhen(): unknown {
    return this.#handler.runWhen
  }
}

Object.freeze(Around.prototype)

/** axios' own transform of responses, which puts nothing into the config: unless somebody has put something else in its place. */
const ownResponseTransform = ([axios.defaults.transformResponse].flat() as unknown[]).find((each) => typeof each === 'function' && Function.prototype.toString.call(each).includes('ERR_BAD_RESPONSE'))

/** Most requests: then there is nothing to give back. */
function isOwnResponseTransform(transforms: unknown): boolean {
  return Array.isArray(transforms) && transforms.length === 1 && transforms[0] === ownResponseTransform && ownResponseTransform !== undefined
}

const notGivenBack = new Set<string>([...sealedFields, 'transformRequest'])

/** What axios reads before it runs the transforms. */
function prepare(config: Config, given: Config): void {
  for (const name of ['cancelToken', 'signal', 'headers', 'data']) {
    const value = ownOrTemplate(given, name)
    if (value !== undefined || config[name] !== undefined) config[name] = value
  }
}

/** The private config gets all that the other one has, and nothing else. */
function follow(config: Config, given: Config): void {
  for (const name in config) if (!(name in given)) delete config[name]
  // Part of every request with interceptors: this is the quickest way, and all that a config of axios' own needs.
  if (Object.getPrototypeOf(given) === null && !('then' in given)) for (const name in given) config[name] = given[name]
  else copyInto(config, given)
}

/** Also what a class or a template supplies; never what stands on `Object.prototype`. */
function copyInto(target: Config, source: Config): Config {
  for (let holder: object | null = source; holder !== null && !foundations.has(holder); holder = Object.getPrototypeOf(holder) as object | null) {
    for (const name of Reflect.ownKeys(holder) as string[]) {
      if (!neverCopied.has(name) && (holder === source || !Object.hasOwn(source, name))) target[name] = source[name]
    }
  }
  return target
}

const foundations = new Set<object>([Object.prototype, Function.prototype])

// A promise of a config with a `then` would hand it over.
const neverCopied = new Set<string>(['__proto__', 'constructor', 'prototype', 'then'])

/** The config that axios without pins would send. */
function sent(config: Config): Config {
  return sendsCopies && (Object.getPrototypeOf(config) !== null || !Object.isExtensible(config)) ? copyInto(Object.create(null) as Config, config) : config
}

/** The user's transforms, where a private config had been shown before it was sealed. */
function originalsOf(transforms: unknown): unknown {
  const [first] = Array.isArray(transforms) ? (transforms as Transform[]) : []
  const pair = first && pairs.get(first)
  return pair ? originalsOf(pair.given['transformRequest']) : transforms
}

function isConfig(value: unknown): value is Config {
  return (typeof value === 'object' && value !== null) || typeof value === 'function'
}
