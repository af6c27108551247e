import type { EventEmitter } from 'node:events'
import type { Socket } from 'node:net'
// eslint-disable-next-line @typescript-eslint/ban-ts-comment -- it is for the declarations, of users without undici
/** @ts-ignore An optional peer: without it these types are any. */
import type { Agent, Dispatcher, buildConnector } from 'undici'
import { PolicyInvalidError } from '../errors.js'
import type { PolicySet } from '../policy/policy-set.js'
import type { PinnedPeer } from '../verify/verify.js'
import type { PinningAgent } from './agent.js'
import type { Connector } from './connector.js'
import { openSocket } from './open-socket.js'
import { pinningDispatchers } from './pinning-dispatchers.js'
import type { PoolOptions } from './tls-options.js'
import { loadUndici } from '../late.cjs'

/**
 * An undici dispatcher whose every connection goes to a peer that the policy accepts. Pooling, queueing, time-outs and
 * keep-alive are undici's own; HTTP/1.1 is offered.
 *
 * @throws {PolicyInvalidError} when undici is not installed, or is older than version 7
 */
export function openDispatcher(agent: PinningAgent): PinningDispatcher {
  const undici = findUndici()
  const PinningDispatcher = (dispatcherClass ??= defineDispatcher(undici))
  return new PinningDispatcher(agent) as Dispatcher as PinningDispatcher
}

/** undici's own type, and that of the global `fetch` where TypeScript knows Node's: they differ with their versions. */
export type UndiciDispatcher = Dispatcher & (RequestInit extends { dispatcher?: infer Known } ? NonNullable<Known> : unknown)

export type PinningDispatcher = UndiciDispatcher & { closeSockets(): Promise<void> }

type Undici = ReturnType<typeof loadUndici>

/** Made by one swap of the policy, or since something in them expired: what one of undici's agents may still be used for. */
interface Pool {
  readonly agent: Agent
  readonly policies: PolicySet
  /** No proof of its sockets ends before; milliseconds since the epoch. */
  goodUntil: number
}

let dispatcherClass: ReturnType<typeof defineDispatcher> | undefined

/** The base class is there only once undici has been loaded. */
function defineDispatcher(undici: Undici) {
  return class PinningDispatcher extends undici.Dispatcher {
    readonly #connector: Connector
    readonly #options: PoolOptions
    /** How many sockets an origin may have; `null` is undici's word for no limit. */
    readonly #limit: number | null
    readonly #proofs = new WeakMap<Socket, PinnedPeer>()
    /** The one in use comes last; the others end with their requests. */
    readonly #pools = new Set<Pool>()
    /** undici knows of a socket once its peer is verified. */
    readonly #connecting = new Set<Socket>()
    #pool: Pool | undefined
    #closed = false

    constructor(agent: PinningAgent) {
      super()
      pinningDispatchers.add(this)
      this.#connector = agent.connectorFor((socket, peer) => this.#proofs.set(socket, peer))
      this.#options = agent.options as PoolOptions
      this.#limit = Number.isFinite(agent.maxSockets) ? agent.maxSockets : null
      // What `compose()` makes of this calls them on itself.
      this.close = this.close.bind(this)
      this.destroy = this.destroy.bind(this)
    }

    override dispatch(options: Dispatcher.DispatchOptions, handler: Dispatcher.DispatchHandler): boolean {
      const pool = this.#current()
      return pool.agent.dispatch(options, this.#limit === null ? asToday(handler) : this.#notQueuedOver(pool, options, asToday(handler)))
    }

    override close(callback?: () => void): Promise<void> {
      this.#closed = true
      this.#current()
      const done = Promise.all([...this.#pools].map(({ agent }) => agent.close())).then(() => undefined)
      if (callback) void done.then(callback)
      return done
    }

    override destroy(...args: [(Error | null | (() => void))?, (() => void)?]): Promise<void> {
      const error = args.find((each) => each instanceof Error) ?? null
      const callback = args.find((each) => typeof each === 'function')
      this.#closed = true
      this.#current()
      const done = Promise.all([...this.#pools].map(({ agent }) => agent.destroy(error))).then(() => undefined)
      this.#connector.sessions.clear()
      for (const socket of this.#connecting) socket.destroy()
      if (callback) void done.then(callback)
      return done
    }

    /** Closes every socket; unlike after `destroy()`, new ones may be opened. */
    async closeSockets(): Promise<void> {
      const pools = [...this.#pools]
      this.#pool = undefined
      this.#pools.clear()
      this.#connector.sessions.clear()
      for (const socket of this.#connecting) socket.destroy()
      await Promise.all(pools.map(({ agent }) => agent.destroy()))
    }

    /** Not the pool of other policies, or one that holds a proof which has ended: that one only finishes its requests. */
    #current(): Pool {
      const known = this.#pool
      if (known && (this.#closed || this.#holds(known))) return known
      const pool: Pool = { agent: this.#open((socket) => (pool.goodUntil = Math.min(pool.goodUntil, this.#proofs.get(socket)?.goodUntil ?? Infinity))), policies: this.#connector.policies(), goodUntil: Infinity }
      this.#pools.add((this.#pool = pool))
      const forget = (): void => void (known && this.#pools.delete(known))
      known?.agent.close().then(forget, forget)
      return pool
    }

    #holds({ policies, goodUntil }: Pool): boolean {
      return policies === this.#connector.policies() && this.#connector.now() <= goodUntil
    }

    #open(onVerified: (socket: Socket) => void): Agent {
      const agent = new undici.Agent({
        allowH2: false,
        connections: this.#limit,
        ...(this.#options.keepAlive === false && { pipelining: 0 }),
        connect: (wanted: buildConnector.Options, callback: buildConnector.Callback) => this.#connect(wanted, (...answer) => {
          if (answer[1]) onVerified(answer[1])
          callback(...answer)
        })
      })
      for (const event of ['connect', 'disconnect', 'connectionError', 'drain'] as const) (agent as EventEmitter).on(event, (...args: unknown[]) => (this as EventEmitter).emit(event, ...args))
      return agent
    }

    #connect(wanted: buildConnector.Options, callback: buildConnector.Callback): void {
      const first = this.#connector.awaited?.()
      if (first) void first.then(() => this.#connectNow(wanted, callback)).catch((error: unknown) => callback(asNodeError(error as Error), null))
      else this.#connectNow(wanted, callback)
    }

    #connectNow({ hostname, protocol, port, servername, localAddress }: buildConnector.Options, callback: buildConnector.Callback): void {
      const { lookup, family, hints, localPort, autoSelectFamily, autoSelectFamilyAttemptTimeout, ...pool } = this.#options
      const socket = openSocket({
        // As undici's own connector has it.
        noDelay: true, keepAlive: true, keepAliveInitialDelay: 60_000,
        lookup, family, hints, localPort, autoSelectFamily, autoSelectFamilyAttemptTimeout,
        localAddress: localAddress ?? pool.localAddress,
        protocol,
        host: hostname.replace(/^\[|\]$/g, ''),
        port: Number(port || (protocol === 'https:' ? 443 : 80)),
        servername: (pool as { servername?: string }).servername ?? servername ?? undefined,
        // undici reads it in the Host header, where there is one.
        namedByHeader: (pool as { servername?: string }).servername === undefined && Boolean(servername) && servername !== hostname,
        alpn: ['http/1.1']
      }, this.#connector)
      this.#connecting.add(socket)
      const timer = setTimeout(() => socket.destroy(new undici.errors.ConnectTimeoutError(`Connect Timeout Error (${hostname}:${port || ''}, timeout: ${connectTimeoutMs}ms)`)), connectTimeoutMs)
      let answered = false
      const answer: buildConnector.Callback = (...result) => {
        if (answered) return
        answered = true
        this.#connecting.delete(socket)
        clearTimeout(timer)
        callback(...result)
      }
      // Of a peer that is refused, 'secureConnect' is not emitted.
      socket.once(protocol === 'https:' ? 'secureConnect' : 'connect', () => answer(null, socket))
      socket.on('error', (error) => answer(asNodeError(error), null))
      socket.once('close', () => answer(new undici.errors.SocketError('closed before its peer was verified'), null))
    }

    /**
     * Where `maxSockets` makes requests wait for a socket, one may have been verified under policies that an update has
     * replaced since: then the request, of which nothing has been sent, waits for another.
     */
    #notQueuedOver(pool: Pool, options: Dispatcher.DispatchOptions, handler: Dispatcher.DispatchHandler): Dispatcher.DispatchHandler {
      let moved = false
      const start = (name: 'onConnect' | 'onRequestStart') => (...args: unknown[]): unknown => {
        moved = !this.#closed && !this.#holds(pool)
        if (moved) throw new Error('this socket was verified under policies that hold no more')
        return (handler as Record<string, (...args: unknown[]) => unknown>)[name]?.(...args)
      }
      const fail = (name: 'onError' | 'onResponseError') => (...args: unknown[]): unknown => {
        if (!moved) return (handler as Record<string, (...args: unknown[]) => unknown>)[name]?.(...args)
        moved = false
        return this.dispatch(options, handler)
      }
      const ours: Record<PropertyKey, unknown> = { onConnect: start('onConnect'), onRequestStart: start('onRequestStart'), onError: fail('onError'), onResponseError: fail('onResponseError') }
      return new Proxy(handler, {
        get: (target, name) => {
          const own = Reflect.get(target, name) as unknown
          if (typeof own !== 'function') return own
          return Object.hasOwn(ours, name) ? ours[name] : (own.bind(target) as unknown)
        }
      })
    }
  }

  /** undici 8 knows only its newer handlers; the `fetch` of Node 20 to 24 has the older ones. */
  function asToday(handler: Dispatcher.DispatchHandler): Dispatcher.DispatchHandler {
    const { Dispatcher1Wrapper } = undici as { Dispatcher1Wrapper?: { wrapHandler(handler: Dispatcher.DispatchHandler): Dispatcher.DispatchHandler } }
    return Dispatcher1Wrapper ? Dispatcher1Wrapper.wrapHandler(handler) : handler
  }
}

/**
 * `fetch` keeps of an error its text only, unless it is one of Node's own kind. In a jest suite ours are not: the suite
 * has an `Error` of its own.
 */
function asNodeError(error: Error & { code?: string }): Error {
  const NodeError = Object.getPrototypeOf(process.getBuiltinModule('node:assert').AssertionError) as ErrorConstructor
  const { message, code } = error
  return error instanceof NodeError ? error : Object.assign(new NodeError(message, { cause: error }), { code })
}

/** As undici's own. */
const connectTimeoutMs = 10_000

function findUndici(): Undici {
  try {
    return loadUndici()
  } catch (cause) {
    throw new PolicyInvalidError('undici', 'the package undici is needed, and cannot be loaded; right would be npm install undici (version 7 or later)', { cause })
  }
}
