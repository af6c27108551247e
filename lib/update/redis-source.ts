import { createHash } from 'node:crypto'
import { PolicyInvalidError } from '../errors.js'
import { describeType } from '../pin/pin.js'
import { readOptions } from '../policy/options.js'
import type { PinSetAnswer, PinSetRequest, PinSetSource } from './source.js'

/** What {@link redisSource} needs of a client of the package `redis` (node-redis 4 to 6). */
export interface RedisClient {
  readonly isOpen: boolean
  duplicate(): RedisClient
  connect(): Promise<unknown>
  getRange(key: string, start: number, end: number): Promise<unknown>
  subscribe(channel: string, listener: (message: string) => void): Promise<unknown>
  /** Ends the connection at once; `disconnect` before node-redis 5. */
  destroy?(): void
  disconnect?(): unknown
  /** The connection does not keep the process alive. */
  unref?(): void
  on(event: string, listener: (...args: unknown[]) => void): unknown
}

/** What can be said to {@link redisSource}. */
export interface RedisSourceOptions {
  /** Where a message says that the key has changed. Default: the key's own name. The message itself is not looked at. */
  readonly channel?: string
}

export function redisSource(client: RedisClient, key: string, options: RedisSourceOptions = {}): PinSetSource {
  if (typeof client?.duplicate !== 'function' || typeof client.getRange !== 'function') throw new PolicyInvalidError('redisSource', `the client must be made by createClient() of the package "redis", and is ${describeType(client)}`)
  if (typeof key !== 'string' || key === '') throw new PolicyInvalidError('redisSource', `the key must be a string, not ${key === '' ? 'empty' : describeType(key)}`)
  const { channel = key } = readOptions(options, ['channel'], 'redisSource')
  if (typeof channel !== 'string' || channel === '') throw new PolicyInvalidError('redisSource', `options.channel must be a string, not ${channel === '' ? 'empty' : describeType(channel)}`)
  const listeners = new Set<Listener>()
  return {
    name: `redis ${key}`,
    fetch: (request) => fetchKey(client, key, request),
    subscribe: (changed) => {
      const listener = new Listener(client, channel, changed)
      listeners.add(listener)
      return () => {
        listeners.delete(listener)
        listener.close()
      }
    },
    close: () => {
      for (const listener of listeners) listener.close()
      listeners.clear()
    }
  }
}

/** A connection for this one look: nothing waits in the queue of a client that cannot connect, and nothing is left behind. */
async function fetchKey(client: RedisClient, key: string, { etag, maxBytes, signal }: PinSetRequest): Promise<PinSetAnswer> {
  signal.throwIfAborted()
  const reader = duplicate(client)
  try {
    const text = await new Promise<unknown>((resolve, reject) => {
      // The first error is final here: trying again is the business of who asks, with its back-off.
      reader.on('error', (error) => reject(error))
      signal.addEventListener('abort', () => reject(signal.reason as Error), { once: true })
      // One byte more than is allowed shows that there is too much.
      reader.connect().then(() => reader.getRange(key, 0, maxBytes)).then(resolve, reject)
    })
    if (typeof text !== 'string' || text === '') throw new Error(`there is nothing under the key ${JSON.stringify(key)}`)
    if (Buffer.byteLength(text) > maxBytes) throw new Error(`there are more than ${maxBytes} bytes under the key ${JSON.stringify(key)}; no set has as many`)
    const found = createHash('sha256').update(text).digest('base64url')
    return found === etag ? { text: undefined, etag } : { text, etag: found }
  } finally {
    end(reader)
  }
}

/** Listens on a channel for as long as it is not closed, whatever happens to the connection. */
class Listener {
  readonly #client: RedisClient
  readonly #channel: string
  readonly #changed: () => void
  #connection: RedisClient | undefined
  #timer: NodeJS.Timeout | undefined
  #failures = 0
  #closed = false

  constructor(client: RedisClient, channel: string, changed: () => void) {
    this.#client = client
    this.#channel = channel
    this.#changed = changed
    this.#open()
  }

  close(): void {
    this.#closed = true
    clearTimeout(this.#timer)
    if (this.#connection) end(this.#connection)
  }

  #open(): void {
    const connection = (this.#connection = duplicate(this.#client))
    // The client connects again by itself and repeats its subscriptions, unless its reconnectStrategy has given up.
    connection.on('error', () => {
      if (!connection.isOpen) this.#openLater(connection)
    })
    // Each time but the first the subscription is in place when it is ready; what was said before that, nobody heard.
    connection.on('ready', () => {
      this.#failures = 0
      if (!this.#closed) this.#changed()
    })
    connection
      .connect()
      .then(() => connection.subscribe(this.#channel, () => this.#closed || this.#changed()))
      .then(() => this.#closed || this.#changed())
      .catch(() => this.#openLater(connection))
  }

  #openLater(connection: RedisClient): void {
    if (this.#closed || this.#connection !== connection) return
    this.#connection = undefined
    end(connection)
    // Full jitter: a fleet whose Redis restarts does not come back in one moment.
    const waitMs = Math.random() * Math.min(30_000, 500 * 2 ** this.#failures++)
    this.#timer = setTimeout(() => this.#open(), waitMs).unref()
  }
}

/** A connection of its own, for which the process does not stay alive: that is for whom waits for it. */
function duplicate(client: RedisClient): RedisClient {
  const own = client.duplicate()
  own.unref?.()
  return own
}

/** Whatever state it is in. */
function end(connection: RedisClient): void {
  // What still fails while it ends has nobody to be told to.
  connection.on('error', () => undefined)
  try {
    if (connection.destroy) connection.destroy()
    else Promise.resolve(connection.disconnect?.()).catch(() => undefined)
  } catch {
    // It was closed already.
  }
}
