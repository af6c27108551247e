import type { PinningCore } from '../pinning.js'
import { chosenAdapter, fieldsOf } from './guard.js'
import type { Config, Fields, Memory } from './guard.js'
import { routeOf } from './route.js'
import type { Agents } from './route.js'

/**
 * Requests whose config says nothing of connections, or no more than `proxy: false`: nearly all. What the guard would decide
 * about them is the same each time, and worked out once.
 */
export class UsualRequests {
  readonly #core: PinningCore
  #decisions: { readonly byDefault: Memory; readonly direct: Memory } | undefined

  constructor(core: PinningCore) {
    this.#core = core
  }

  /** @returns the decision, always the same two objects; `undefined` when the request is not one of these */
  find(config: Config): Memory | undefined {
    const prototype: unknown = Object.getPrototypeOf(config)
    if (prototype !== null && prototype !== Object.prototype) return undefined
    // One by one: this is part of every request.
    if (has(config, 'httpsAgent') || has(config, 'httpAgent') || has(config, 'beforeRedirect') || has(config, 'transport') || has(config, 'socketPath') || has(config, 'httpVersion') || has(config, 'http2Options')) return undefined
    const proxy = Object.hasOwn(config, 'proxy') ? config['proxy'] : undefined
    if ((proxy ?? false) !== false) return undefined
    if (chosenAdapter(Object.hasOwn(config, 'adapter') ? config['adapter'] : undefined) !== 'http') return undefined
    this.#decisions ??= { byDefault: this.#decide(undefined), direct: this.#decide(false) }
    return proxy === false ? this.#decisions.direct : this.#decisions.byDefault
  }

  #decide(proxy: false | undefined): Memory {
    // Without a prototype, on which anything may have been put.
    const given = { __proto__: null, proxy } as Fields
    return { given, sealed: fieldsOf(routeOf(given, this.#core) as Agents, undefined) }
  }
}

function has(config: Config, field: keyof Fields): boolean {
  return config[field] !== undefined && Object.hasOwn(config, field)
}
