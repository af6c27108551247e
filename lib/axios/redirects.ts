import type { Config } from './guard.js'

/** What follow-redirects is given for the next request, whatever the user's hook or anybody later puts there. */
interface Held {
  agents: object
  nativeProtocols: object
  /** follow-redirects' own, shared by every request. */
  readonly protocols: object
}

/** The options of each chain of redirects, which are one object for all its hops. */
const heldBy = new WeakMap<object, Held>()

/** The user's `beforeRedirect`, after which the request's agents and transports are as before; on this hop and all later ones. */
export function keepAgents(agents: { http: unknown; https: unknown }, beforeRedirect: unknown): (options: Config, ...rest: unknown[]) => void {
  return function keep(options, ...rest) {
    const held = heldBy.get(options) ?? hold(options, keep)
    if (beforeRedirect) {
      held.agents = { ...agents }
      held.nativeProtocols = Object.fromEntries(Object.entries(held.protocols).map(([name, protocol]) => [name, { ...(protocol as object) }]))
      ;(beforeRedirect as (...args: unknown[]) => void).call(options['beforeRedirects'], options, ...rest)
    }
    held.agents = { ...agents }
    held.nativeProtocols = { ...held.protocols }
    for (const name of ['agent', 'createConnection', 'socketPath']) delete options[name]
  }
}

/** From the first hop on, before anybody has seen these options. Assigning to them is allowed, and goes nowhere. */
function hold(options: Config, keep: unknown): Held {
  const { beforeRedirect, beforeRedirects } = options
  const held: Held = { agents: {}, nativeProtocols: {}, protocols: { ...(options['nativeProtocols'] as object | undefined) } }
  fix(options, 'agents', () => held.agents)
  fix(options, 'nativeProtocols', () => held.nativeProtocols)
  fix(options, 'beforeRedirect', () => beforeRedirect)
  fix(options, 'beforeRedirects', () => beforeRedirects)
  fix(beforeRedirects as object, 'config', () => keep)
  heldBy.set(options, held)
  return held
}

function fix(holder: object, name: string, get: () => unknown): void {
  Object.defineProperty(holder, name, { get, set: () => undefined, enumerable: true, configurable: false })
}
