import { IntegrityError, PolicyInvalidError } from '../errors.js'
import { describeError, describeType } from '../pin/pin.js'
import { readChoice, readList } from '../policy/options.js'
import { findReplaced } from './originals.js'
import { findSwitches, findUnverified } from './switches.js'
import type { Found, IntegrityFinding } from './switches.js'

/** The part of the options that says what to do about a process in which something could weaken pinning. */
export interface IntegrityOptions {
  /**
   * `'report'` (default): what is found stands in `status()`, and goes to the log and the channel
   * `axios-ssl-pinning:integrity:found`. `'refuse'`: every request is refused with `ERR_PIN_INTEGRITY` while anything is found
   * that is not allowed. `'off'`: nothing is looked for.
   */
  integrity?: 'off' | 'report' | 'refuse'
  /** What is meant to be there: names of findings, what preloads were asked for by, and names of packages. Matched exactly. */
  integrityAllow?: readonly string[]
}

/** How it stands. JSON-safe. */
export interface IntegrityStatus {
  readonly mode: 'off' | 'report' | 'refuse'
  /** What is there now and not allowed. */
  readonly findings: readonly IntegrityFinding[]
  /** What is there now and allowed. */
  readonly allowed: readonly IntegrityFinding[]
}

/** What is looked at, for tests. */
export interface Surroundings {
  readonly env: NodeJS.ProcessEnv
  readonly execArgv: readonly string[]
}

/**
 * Looks for what in this process could weaken pinning: at once, and then, where requests are made, at most once a second
 * at what can change while a program runs.
 *
 * It cannot see what hides from it: whoever runs code in the process can replace this code too.
 */
export class Integrity {
  readonly #mode: 'off' | 'report' | 'refuse'
  readonly #allow: ReadonlySet<string>
  readonly #env: NodeJS.ProcessEnv
  /** A package may be what is allowed. */
  readonly #byPackage: boolean
  readonly #fixed: readonly Found[]
  readonly #instances = new Set<() => boolean | undefined>()
  readonly #onFound: (finding: IntegrityFinding) => void
  readonly #told = new Set<string>()
  #findings: readonly Found[] = []
  #allowed: readonly Found[] = []
  #refusal: IntegrityError | undefined
  /** Milliseconds since the epoch. */
  #lookedAt = 0
  #timer: NodeJS.Timeout | undefined

  /**
   * @param onFound called once for each name that is found and not allowed
   * @throws {PolicyInvalidError} naming the option
   */
  constructor(options: IntegrityOptions, onFound: (finding: IntegrityFinding) => void, { env, execArgv }: Surroundings = process) {
    this.#mode = readChoice(options.integrity, ['off', 'report', 'refuse'], 'report', 'integrity')
    const allowed = readAllowed(options.integrityAllow)
    this.#byPackage = allowed.length > 0
    this.#allow = new Set([...allowed, ...(this.#mode === 'report' ? typeScriptLoaders : [])])
    this.#env = env
    this.#onFound = onFound
    this.#fixed = this.#mode === 'off' ? [] : findSwitches(env, execArgv)
  }

  /** Why every request is to be refused; `undefined` when there is no reason to. Looks again when the last look is old. */
  get refusal(): IntegrityError | undefined {
    // A clock that was set back looks again, too.
    if (this.#mode !== 'off' && Math.abs(Date.now() - this.#lookedAt) >= intervalMs) this.#look()
    return this.#refusal
  }

  get status(): IntegrityStatus {
    if (this.#mode !== 'off') this.#look()
    return { mode: this.#mode, findings: this.#findings.map(show), allowed: this.#allowed.map(show) }
  }

  /**
   * An axios instance whose pinning was not taken off by its owner. Looked at every few seconds too, since an instance
   * that has lost it does not come by here any more.
   *
   * @param isPinned `undefined` when the instance is gone
   * @returns a function that ends it
   */
  watch(isPinned: () => boolean | undefined): () => void {
    if (this.#mode === 'off') return () => undefined
    this.#instances.add(isPinned)
    this.#timer ??= setInterval(() => this.#look(), instancesMs).unref()
    return () => this.#forget(isPinned)
  }

  close(): void {
    clearInterval(this.#timer)
    this.#timer = undefined
  }

  /** Never throws: what cannot be looked at is a finding. */
  #look(): void {
    this.#lookedAt = Date.now()
    this.#judge([...this.#fixed, ...orFailure(() => findPresent(this.#env, this.#byPackage)), ...orFailure(() => this.#findUnpinned())])
  }

  #judge(all: readonly Found[]): void {
    const found = [...new Map(all.map((each) => [each.name, each])).values()]
    this.#allowed = found.filter((each) => this.#isAllowed(each))
    this.#findings = found.filter((each) => !this.#isAllowed(each))
    for (const finding of this.#findings) {
      if (this.#told.has(finding.name)) continue
      this.#told.add(finding.name)
      this.#onFound(show(finding))
    }
    // The same error while the same is found: whoever compares it sees that nothing has changed.
    const findings = this.#mode === 'refuse' ? this.#findings.map(show) : []
    if (findings.map(({ name }) => name).join('\n') === (this.#refusal?.findings ?? []).map(({ name }) => name).join('\n')) return
    this.#refusal = findings.length === 0 ? undefined : new IntegrityError(findings)
  }

  #findUnpinned(): Found[] {
    let lost = 0
    for (const isPinned of [...this.#instances]) {
      const pinned = isPinned()
      if (pinned === undefined) this.#forget(isPinned)
      else if (!pinned) lost++
    }
    return lost === 0 ? [] : [{ name: 'interceptor', detail: `pinning was taken off ${lost === 1 ? 'an axios instance' : `${lost} axios instances`} by other means than its detach function`, packages: [] }]
  }

  #forget(isPinned: () => boolean | undefined): void {
    this.#instances.delete(isPinned)
    if (this.#instances.size === 0) this.close()
  }

  #isAllowed({ name, packages }: Found): boolean {
    return this.#allow.has(name) || packages.some((owner) => this.#allow.has(owner)) || [...this.#allow].some((entry) => covers(entry, name, packages))
  }
}

const intervalMs = 1_000
const instancesMs = 5_000

/** Known by the names of their packages: whoever runs TypeScript directly is at work on the program. Not known where findings refuse. */
const typeScriptLoaders = ['tsx', 'ts-node']

/** What can come and go while a program runs. */
function findPresent(env: NodeJS.ProcessEnv, byPackage: boolean): Found[] {
  const unverified = findUnverified(env)
  return [...(unverified ? [unverified] : []), ...findInspector(), ...findReplaced(byPackage)]
}

function orFailure(find: () => Found[]): Found[] {
  try {
    return find()
  } catch (error) {
    return [{ name: 'failure', detail: `looking has failed, so what there is cannot be told: ${describeError(error)}`, packages: [] }]
  }
}

function findInspector(): Found[] {
  try {
    const url = (process.getBuiltinModule('inspector') as { url(): string | undefined } | undefined)?.url()
    return url === undefined ? [] : [{ name: 'inspector', detail: 'it is open: whoever reaches its port reads and changes everything in the process', packages: [] }]
  } catch {
    // A Node that was built without one.
    return []
  }
}

/** `dd-trace/init` of `--require dd-trace/init`; and of what a listed package's scope has replaced (`@opentelemetry/…`). */
function covers(entry: string, name: string, packages: readonly string[]): boolean {
  if (name.startsWith('--') && name.slice(name.indexOf(' ') + 1) === entry) return true
  const [scope] = /^@[^/]+\//.exec(entry) ?? []
  return scope !== undefined && !name.startsWith('--') && packages.some((owner) => owner.startsWith(scope))
}

function show({ name, detail }: Found): IntegrityFinding {
  return { name, detail }
}

function readAllowed(given: unknown): string[] {
  return readList(given, 'integrityAllow').map((entry) => {
    if (typeof entry === 'string' && entry.trim() !== '') return entry
    throw new PolicyInvalidError('integrityAllow', `takes names of findings and packages, not ${entry === '' ? 'an empty text' : describeType(entry)}; right would be 'NODE_EXTRA_CA_CERTS' or 'dd-trace'`)
  })
}
