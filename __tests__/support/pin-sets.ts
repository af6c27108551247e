import { generateKeyPairSync } from 'node:crypto'
import type { JsonWebKey, KeyObject } from 'node:crypto'
import { signManifest } from '../../lib/update/manifest.js'
import type { PinSetPayload } from '../../lib/update/manifest.js'
import { readSigningKey } from '../../lib/update/keys.js'
import type { UpdateClock } from '../../lib/update/clock.js'
import type { PinSetAnswer, PinSetRequest, PinSetSource } from '../../lib/update/source.js'

/** Signed pin sets, and a source and a clock that a test holds in its hand. */

export interface Signer {
  readonly id: string
  readonly publicKey: KeyObject
  readonly privateKey: KeyObject
  readonly jwk: JsonWebKey
}

export function createSigner(kind: 'ed25519' | 'p256' | 'ml-dsa-44' | 'ml-dsa-65' = 'ed25519'): Signer {
  const { publicKey, privateKey } = kind === 'p256' ? generateKeyPairSync('ec', { namedCurve: 'P-256' }) : (generateKeyPairSync as (kind: string) => { publicKey: KeyObject; privateKey: KeyObject })(kind)
  return { id: readSigningKey(publicKey, 'key').id, publicKey, privateKey, jwk: publicKey.export({ format: 'jwk' }) }
}

/** Some pin that nobody has. */
export const strayPin = 'sha256/Y9mvm0exBk1JoQ57f9Vm28jKo5lFm/woKcVxrYxu80o='

/** A payload of version 1 for the audience `test`, issued a minute before `now` and good for a week. */
export function pinSet(changes: Partial<PinSetPayload> = {}, now = Date.now()): PinSetPayload {
  return { version: 1, issued: iso(now - 60_000), expires: iso(now + 7 * 86_400_000), audience: 'test', pins: { 'api.example.com': [strayPin] }, ...changes }
}

export function iso(ms: number): string {
  return new Date(ms).toISOString()
}

export async function sign(payload: PinSetPayload, ...signers: Signer[]): Promise<string> {
  return await signManifest(payload, signers.map(({ privateKey }) => privateKey))
}

/** A source that answers what it is told to, and counts. */
export class HeldSource implements PinSetSource {
  readonly name = 'held'
  readonly requests: PinSetRequest[] = []
  /** How many are under way, and the most there ever were. */
  underWay = 0
  mostUnderWay = 0
  closed = 0
  changed: () => void = () => undefined

  constructor(public answer: (request: PinSetRequest) => PinSetAnswer | string | Error | Promise<PinSetAnswer | string | Error>) {}

  async fetch(request: PinSetRequest): Promise<PinSetAnswer> {
    this.requests.push(request)
    this.mostUnderWay = Math.max(this.mostUnderWay, ++this.underWay)
    try {
      const answer = await this.answer(request)
      if (answer instanceof Error) throw answer
      return typeof answer === 'string' ? { text: answer, etag: answer } : answer
    } finally {
      this.underWay--
    }
  }

  close(): void {
    this.closed++
  }
}

/** Time that passes when a test says so. Work that is not about time (hashing, signatures) really runs. */
export class HeldClock implements UpdateClock {
  #now: number
  #timers: Array<{ at: number; run: () => void }> = []
  chance = 0.5

  constructor(now = Date.parse('2026-06-01T12:00:00Z')) {
    this.#now = now
  }

  readonly now = (): number => this.#now
  readonly random = (): number => this.chance

  after(ms: number, run: () => void): () => void {
    const timer = { at: this.#now + ms, run }
    this.#timers.push(timer)
    return () => {
      this.#timers = this.#timers.filter((each) => each !== timer)
    }
  }

  /** How many timers wait. */
  get pending(): number {
    return this.#timers.length
  }

  /** Whether work is going on that waits for no timer: it is waited for. `'perhaps'`: not for long. */
  busy: () => boolean | 'perhaps' = () => false

  /** Lets time pass, one timer after the other, and everything that follows from each. */
  async pass(ms: number): Promise<void> {
    const end = this.#now + ms
    await this.#settle()
    for (;;) {
      const [next] = this.#timers.filter(({ at }) => at <= end).sort((a, b) => a.at - b.at)
      if (next === undefined) break
      this.#timers = this.#timers.filter((each) => each !== next)
      this.#now = Math.max(this.#now, next.at)
      next.run()
      await this.#settle()
    }
    this.#now = Math.max(this.#now, end)
  }

  /** As for a machine that slept: no timer has run. */
  jump(ms: number): void {
    this.#now += ms
  }

  async #settle(): Promise<void> {
    const patience = performance.now() + 200
    for (let quiet = 0; quiet < 20; ) {
      await new Promise((resolve) => setImmediate(resolve))
      const busy = this.busy()
      quiet = busy === true || (busy === 'perhaps' && performance.now() < patience) ? 0 : quiet + 1
    }
  }
}
