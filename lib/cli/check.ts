import { once } from 'node:events'
import { setTimeout as sleep } from 'node:timers/promises'
import { InvalidArgumentError } from 'commander'
import type { Command } from 'commander'
import { parsePinsFile } from '../formats/pins-file.js'
import type { PinsRefresh } from '../formats/pins-file.js'
import { parseHostPattern } from '../pin/hostname.js'
import { parsePin } from '../pin/pin.js'
import { PolicySet } from '../policy/policy-set.js'
import { changesBetween, describeChange, describeChecks } from './check-text.js'
import { action, createCommand } from './command.js'
import type { Run } from './command.js'
import { parseDuration } from './duration.js'
import { CommandError, exitCode, worst } from './exit.js'
import type { ExitCode } from './exit.js'
import { firstLine, showText } from './format.js'
import { checkHost, compareUrgency, exitCodeOf } from './host-check.js'
import type { CheckSettings, HostCheck } from './host-check.js'
import { decodeInput, readInput } from './input.js'
import type { Output } from './output.js'
import { renderReport } from './report-page.js'
import { parseTarget, showTarget } from './target.js'
import type { HostAndPort } from './target.js'
import { caHelp, proxyHelp, readProxyRoute, readTrust } from './trust.js'
import { explainWriteFailure } from './write-failure.js'

/** `check <pins file> [host…]`: does every pinned host still match, is there a backup, what expires when? */
export function checkCommand(run: Run): Command {
  return createCommand('check', 'Check every host of a pins file: does it match, is there a backup pin, what expires when? Sends nothing but TLS handshakes.')
    .argument('<pins file>', 'JSON with comments or YAML, - for standard input')
    .argument('[host...]', 'further hosts: a wildcard pattern names none')
    .option('--only', 'check no other hosts than these')
    .option('--warn-days <days>', 'warn of what expires within so many days', parseDays, 30)
    .option('--ca <file>', caHelp)
    .option('--proxy <url>', proxyHelp)
    .option('--no-proxy', 'go there directly, whatever the environment says')
    .option('--timeout <duration>', 'for each host', parseDuration, 10_000)
    .option('--concurrency <number>', 'how many hosts at a time', parseConcurrency, 32)
    .option('--html <file>', 'also write a report: one page that needs nothing else')
    .option('--watch <duration>', 'check again and again, and print what changes', parseDuration)
    .action(
      action(run, async (output, file: string, hosts: string[], options: CheckOptions) => {
        if (options.watch !== undefined && file === '-') throw new CommandError('standard input cannot be read again; right would be a file', exitCode.usage)
        if (options.only && hosts.length === 0) throw new CommandError('--only needs the hosts to check', exitCode.usage)
        const first = await checkAll(output, file, hosts, options)
        output.result(first, () => describeChecks(first.hosts, output.colors, options.warnDays))
        if (first.unchecked.length > 0) output.note(`not checked, since no host given falls under it: ${showSome(first.unchecked)}`)
        return options.watch === undefined ? first.exitCode : watch(output, file, hosts, options, first)
      })
    )
}

interface CheckOptions {
  readonly only?: boolean
  readonly warnDays: number
  readonly ca?: string
  readonly proxy?: string | boolean
  readonly timeout: number
  readonly concurrency: number
  readonly html?: string
  readonly watch?: number
}

/** The result of one round, as `--json` prints it. */
export interface Checked {
  readonly file: string
  readonly time: Date
  /** The most urgent first. */
  readonly hosts: readonly HostCheck[]
  /** Patterns that name no host, and that none of the hosts given falls under. */
  readonly unchecked: readonly string[]
  readonly exitCode: ExitCode
}

/** One round: everything is read anew, so that a file that changes is followed. */
async function checkAll(output: Output, file: string, hosts: readonly string[], options: CheckOptions): Promise<Checked> {
  const { terminal } = output
  const { policy, refresh } = parsePinsFile(decodeInput(await readInput(file, terminal), file), file)
  const policies = new PolicySet(policy, 1)
  const targets = findTargets(policies, hosts.map(parseTarget), options.only === true)
  const unchecked = findUnchecked(policies, targets)
  if (targets.length === 0) throw new CommandError(`${showText(file)} names no host to check (${showSome(unchecked)}); right would be to give hosts that fall under it: check ${showText(file)} api.example.com`, exitCode.usage)
  const settings: CheckSettings = { policies, retired: retiredPins(refresh), trusts: await readTrust(options.ca, terminal), proxies: readProxyRoute(options.proxy), timeoutMs: options.timeout, warnDays: options.warnDays, now: Date.now }
  const progress = await output.progress('checking', targets.length)
  const checks = await mapBounded(targets, options.concurrency, (target) => checkHost(target, settings).finally(progress.tick)).finally(progress.stop)
  checks.sort(compareUrgency)
  const checked = { file, time: new Date(), hosts: checks, unchecked, exitCode: worst(checks.map(exitCodeOf)) }
  if (options.html !== undefined) await writeReport(options.html, checked, options.warnDays)
  return checked
}

/** Ends when it is told to (Ctrl-C, SIGTERM), in the middle of a round if need be, with the exit code of the last whole one. */
async function watch(output: Output, file: string, hosts: readonly string[], options: CheckOptions, first: Checked): Promise<ExitCode> {
  const ended = new AbortController()
  const stopped = once(ended.signal, 'abort').then(() => undefined)
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => ended.abort())
  let last = first
  while (await sleep(options.watch, true, { signal: ended.signal }).catch(() => false)) {
    try {
      const next = await Promise.race([checkAll(output, file, hosts, options), stopped])
      if (next === undefined) break
      for (const change of changesBetween(last, next)) output.line(change, () => describeChange(change, output.colors))
      last = next
    } catch (error) {
      // A file that is just being written, for one; the next round may fare better.
      output.note(`${new Date().toISOString()} ${firstLine((error as Error).message)}`)
    }
  }
  return last.exitCode
}

/** The hosts that patterns without a wildcard name, then those that were given. */
function findTargets(policies: PolicySet, given: readonly HostAndPort[], only: boolean): HostAndPort[] {
  const named = only ? [] : [...policies.policies()].flatMap(({ pattern }) => hostOf(pattern) ?? [])
  return [...new Map([...named, ...given].map((target) => [showTarget(target), target])).values()]
}

function findUnchecked(policies: PolicySet, targets: readonly HostAndPort[]): string[] {
  const covered = new Set(targets.map(({ host, port }) => policies.find(host, port)?.pattern))
  return [...policies.policies()].map(({ pattern }) => pattern).filter((pattern) => !covered.has(pattern))
}

function showSome(patterns: readonly string[]): string {
  const shown = showText(patterns.slice(0, 5).join(', '))
  return patterns.length > 5 ? `${shown} and ${patterns.length - 5} more` : shown
}

/** By pattern, both in canonical form. */
function retiredPins({ hosts = {} }: PinsRefresh): Map<string, ReadonlySet<string>> {
  return new Map(Object.entries(hosts).map(([name, { retired = {} }]) => [name === everywhere ? name : parseHostPattern(name, 'refresh.hosts').text, new Set(Object.keys(retired).map((pin) => parsePin(pin).text))]))
}

/** The pattern of the pins that are for every host. */
const everywhere = 'allowedSHAFingerprints'

function hostOf(pattern: string): HostAndPort | undefined {
  if (pattern === everywhere) return undefined
  const { host, wildcard, port } = parseHostPattern(pattern, 'pins')
  return wildcard === 'exact' ? { host, port: port ?? 443 } : undefined
}

/** @throws {CommandError} when the file cannot be written */
async function writeReport(path: string, checked: Checked, warnDays: number): Promise<void> {
  try {
    // Whole or not at all: a web server may be reading it.
    const { default: writeFileAtomic } = await import('write-file-atomic')
    await writeFileAtomic(path, renderReport(checked, warnDays))
  } catch (cause) {
    throw new CommandError(`--html ${showText(path)} cannot be written: ${explainWriteFailure(path, cause)}`, exitCode.usage, (cause as NodeJS.ErrnoException).code, { cause })
  }
}

/** In order, at most `limit` at a time. */
async function mapBounded<T, R>(items: readonly T[], limit: number, run: (item: T) => Promise<R>): Promise<R[]> {
  const results: R[] = []
  const entries = items.entries()
  const worker = async (): Promise<void> => {
    for (const [index, item] of entries) results[index] = await run(item)
  }
  await Promise.all(Array.from({ length: Math.min(limit, items.length) }, worker))
  return results
}

function parseDays(text: string): number {
  if (!/^\d{1,4}$/.test(text)) throw new InvalidArgumentError('It must be a whole number of days.')
  return Number(text)
}

function parseConcurrency(text: string): number {
  if (!/^\d{1,3}$/.test(text) || Number(text) < 1) throw new InvalidArgumentError('It must be a whole number from 1 to 999.')
  return Number(text)
}
