import type { PeerRecord } from '../verify/records.js'

/** What the connections to one host have shown so far, for comparison with one that is refused. */
export interface HostHistory {
  /** The certificates that were accepted, the last one first; at most four. */
  readonly accepted: readonly Sighting[]
  /** The fingerprints of those that were not, the last one first; at most four. */
  readonly refused: readonly Refusal[]
}

/** Times are milliseconds since the epoch. */
export interface Sighting {
  readonly record: PeerRecord
  readonly firstSeen: number
  readonly lastSeen: number
}

export interface Refusal {
  readonly fingerprint: string
  readonly firstSeen: number
  readonly lastSeen: number
}

/** Remembers the hosts spoken to lately. Bounded; the usual case, the same certificate again, makes nothing new. */
export class PeerHistory {
  readonly #hosts = new Map<string, MutableHistory>()

  /** @param limit hosts; the one not heard of for longest is forgotten */
  constructor(readonly limit = 500) {}

  find(host: string, port: number): HostHistory | undefined {
    const known = this.#hosts.get(`${host}:${port}`)
    return known && { accepted: known.accepted.map((each) => ({ ...each })), refused: known.refused.map((each) => ({ ...each })) }
  }

  accept(host: string, port: number, record: PeerRecord, now: number): void {
    const { accepted } = this.#of(host, port, now)
    const last = accepted[0]
    if (last?.record.fingerprint === record.fingerprint) {
      last.lastSeen = now
      return
    }
    moveToFront(accepted, ({ record: { fingerprint } }) => fingerprint === record.fingerprint, { record, firstSeen: now, lastSeen: now }, now)
  }

  refuse(host: string, port: number, fingerprint: string, now: number): void {
    moveToFront(this.#of(host, port, now).refused, (each) => each.fingerprint === fingerprint, { fingerprint, firstSeen: now, lastSeen: now }, now)
  }

  /** Host, port and the certificate accepted last, of every host. */
  *latest(): Iterable<{ readonly host: string; readonly record: PeerRecord }> {
    for (const { host, accepted } of this.#hosts.values()) if (accepted[0]) yield { host, record: accepted[0].record }
  }

  #of(host: string, port: number, now: number): MutableHistory {
    const key = `${host}:${port}`
    const known = this.#hosts.get(key)
    if (known) {
      known.heard = now
      return known
    }
    if (this.#hosts.size >= this.limit) this.#forgetOne()
    const history = { host, heard: now, accepted: [], refused: [] }
    this.#hosts.set(key, history)
    return history
  }

  /** Looks at all of them, which only a new host asks for: keeping them in order would cost each connection more. */
  #forgetOne(): void {
    const [oldest] = [...this.#hosts].reduce((a, b) => (b[1].heard < a[1].heard ? b : a))
    this.#hosts.delete(oldest)
  }
}

interface MutableHistory {
  readonly host: string
  heard: number
  readonly accepted: Array<Sighting & { lastSeen: number }>
  readonly refused: Array<Refusal & { lastSeen: number }>
}

const perHost = 4

function moveToFront<T extends { lastSeen: number }>(list: T[], matches: (each: T) => boolean, fresh: T, now: number): void {
  const at = list.findIndex(matches)
  const [known] = at >= 0 ? list.splice(at, 1) : []
  if (known) known.lastSeen = now
  list.unshift(known ?? fresh)
  list.length = Math.min(list.length, perHost)
}
