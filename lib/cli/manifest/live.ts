import { lookup } from 'node:dns/promises'
import { isIP } from 'node:net'
import type { LookupFunction } from 'node:net'
import { isPinningError } from '../../errors.js'
import { parseHostPattern } from '../../pin/hostname.js'
import { parsePin } from '../../pin/pin.js'
import { PolicySet } from '../../policy/policy-set.js'
import type { PinReport } from '../../report/report.js'
import { Reporter } from '../../report/reporter.js'
import { PinningAgent } from '../../transport/agent.js'
import type { PinSetPayload } from '../../update/manifest.js'
import { CommandError, exitCode } from '../exit.js'
import { firstLine, showText } from '../format.js'
import { caHint } from '../trust.js'

/** What a client with the new set would make of one server, now. */
export interface LiveFinding {
  readonly host: string
  readonly port: number
  /** Which of the host's addresses was asked. */
  readonly address: string
  /**
   * `accepted`: the new set's pins match. `refused`: they do not. `dropped`: the new set has no pins for the host, and the set
   * before it has, which match what is served. `untrusted`: PKI refuses it, whatever
   * the pins. `unreachable`: nobody could be asked. `gone`: not served as the set before
   * says, and not in the new one.
   */
  readonly outcome: 'accepted' | 'refused' | 'untrusted' | 'dropped' | 'unreachable' | 'gone'
  readonly detail: string
}

/** What is looked at, and how. */
export interface LiveOptions {
  /** Trust anchors, PEM, in place of Node's. */
  readonly ca: string | undefined
  /** Hosts that only wildcard patterns cover, `host` or `host:port`. */
  readonly hosts: readonly string[]
  /** For each connection, in milliseconds. */
  readonly timeoutMs: number
}

/**
 * Connects to the hosts of the new set and of the one before, at each of their addresses, and lets the very code of the clients
 * judge what is served. Nothing is sent.
 */
export async function checkLive(next: PinSetPayload, previous: PinSetPayload | undefined, options: LiveOptions, tick: () => void = () => undefined): Promise<LiveFinding[]> {
  const after = new PolicySet({ pins: next.pins }, 0)
  const before = previous && new PolicySet({ pins: previous.pins }, 0)
  const revoked = new Set((next.revoked?.pins ?? []).map((pin) => parsePin(pin).text))
  const queue = targetsOf([next, ...(previous ? [previous] : [])], options.hosts)
  const findings: LiveFinding[] = []
  const work = async (): Promise<void> => {
    for (let target = queue.pop(); target !== undefined; target = queue.pop()) {
      findings.push(...(await checkHost(target, { after, before, revoked }, options)))
      tick()
    }
  }
  await Promise.all(Array.from({ length: 16 }, work))
  return findings.sort((a, b) => (`${a.host}:${a.port}` < `${b.host}:${b.port}` ? -1 : 1))
}

/** How many hosts {@link checkLive} asks. */
export function countLive(sets: readonly PinSetPayload[], hosts: readonly string[]): number {
  return targetsOf(sets, hosts).length
}

/** The wildcard patterns of a set: no host is known by them. */
export function wildcardsOf({ pins }: PinSetPayload): string[] {
  return Object.keys(pins).filter((pattern) => pattern.startsWith('*'))
}

interface Target {
  readonly host: string
  readonly port: number
}

function targetsOf(sets: readonly PinSetPayload[], hosts: readonly string[]): Target[] {
  const patterns = sets.flatMap(({ pins }) => Object.keys(pins).filter((pattern) => !pattern.startsWith('*')))
  const targets = new Map<string, Target>()
  for (const text of [...patterns, ...hosts]) {
    const { host, port = 443, wildcard } = parseHostPattern(text, '--live-host')
    if (wildcard !== 'exact') throw new CommandError(`--live-host ${showText(text)}: right would be a host without a wildcard`, exitCode.usage)
    targets.set(`${host}:${port}`, { host, port })
  }
  return [...targets.values()]
}

/** What the servers are judged by. */
interface Sets {
  readonly after: PolicySet
  readonly before: PolicySet | undefined
  /** Pins that the new set revokes. */
  readonly revoked: ReadonlySet<string>
}

async function checkHost({ host, port }: Target, sets: Sets, options: LiveOptions): Promise<LiveFinding[]> {
  let addresses: string[]
  try {
    addresses = isIP(host) ? [host] : (await lookup(host, { all: true })).map(({ address }) => address).slice(0, addressesAsked)
  } catch (error) {
    return [{ host, port, address: '', outcome: sets.after.find(host, port) ? 'unreachable' : 'gone', detail: (error as Error).message }]
  }
  const findings = await Promise.all(addresses.map((address) => checkAddress({ host, port }, address, sets, options)))
  // `localhost` and many others have addresses at which nobody listens: what counts is that one of them answers.
  const answered = findings.filter(({ outcome }) => outcome !== 'unreachable')
  return answered.length > 0 ? answered : findings.slice(0, 1)
}

const addressesAsked = 16

async function checkAddress(target: Target, address: string, { after, before, revoked }: Sets, options: LiveOptions): Promise<LiveFinding> {
  const found = (outcome: LiveFinding['outcome'], detail: string): LiveFinding => ({ ...target, address, outcome, detail })
  if (after.find(target.host, target.port)) {
    const judged = await judge(target, address, after, options)
    const gone = judged.shown.find((pin) => revoked.has(pin))
    if (judged.accepted && gone !== undefined) return found('refused', `it serves ${gone}, which the set revokes`)
    if (judged.accepted) return found('accepted', judged.detail)
    return found(judged.failure ?? 'unreachable', judged.detail)
  }
  if (!before?.find(target.host, target.port)) return found('refused', 'the set has no pins for this host')
  const judged = await judge(target, address, before, options)
  return judged.accepted ? found('dropped', `it still serves ${judged.detail}, and the set has no pins for it any more`) : found('gone', judged.detail)
}

interface Judged {
  readonly accepted: boolean
  /** Who refused it, the pins or PKI; `undefined` where there was nobody to refuse. */
  readonly failure: 'refused' | 'untrusted' | undefined
  /** The pin that matched, or why there was none. */
  readonly detail: string
  /** Pins and fingerprints of the leaf and of the verified chain, when it was accepted. */
  readonly shown: readonly string[]
}

/** A connection as a client's, on which nothing is sent. */
function judge({ host, port }: Target, address: string, policies: PolicySet, { ca, timeoutMs }: LiveOptions): Promise<Judged> {
  return new Promise((resolve) => {
    const end = (judged: Judged): void => {
      clearTimeout(late)
      agent.destroy()
      socket.destroy()
      resolve(judged)
    }
    let shown = false
    const reporter = new Reporter({ onValidCertificate: (report) => end(accepted(report)), onBadCertificate: () => (shown = true) })
    const agent = new PinningAgent({ policies: () => policies, reporter, tls: ca === undefined ? undefined : { ca }, agent: undefined })
    const late = setTimeout(() => end({ accepted: false, failure: undefined, detail: `no answer within ${timeoutMs} ms`, shown: [] }), timeoutMs)
    const toAddress: LookupFunction = (_name, { all }, callback) => {
      if (all) (callback as unknown as (error: null, addresses: Array<{ address: string; family: number }>) => void)(null, [{ address, family: isIP(address) }])
      else callback(null, address, isIP(address))
    }
    const socket = agent.createConnection({ host, port, lookup: toAddress })
    socket.on('error', (error: Error) => end({ accepted: false, failure: isPinningError(error) ? 'refused' : shown ? 'untrusted' : undefined, detail: `${firstLine(error.message)}${caHint(error, ca !== undefined)}`, shown: [] }))
  })
}

function accepted({ matchedPin, leaf, chain }: PinReport): Judged {
  const shown = [...(leaf ? [leaf] : []), ...chain].flatMap(({ pin, fingerprint }) => [fingerprint, ...(pin === undefined ? [] : [pin])])
  return { accepted: true, failure: undefined, detail: matchedPin ?? leaf?.pin ?? '', shown }
}
