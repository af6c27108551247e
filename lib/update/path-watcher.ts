import { watch } from 'node:fs'
import type { BigIntStats, FSWatcher } from 'node:fs'
import { lstat, readlink, stat } from 'node:fs/promises'
import { join, parse, resolve, sep } from 'node:path'
import { PolicyInvalidError } from '../errors.js'
import { describeType } from '../pin/pin.js'
import { readOptions } from '../policy/options.js'

/** How a {@link watchPath} looks. */
export interface PathWatchOptions {
  /** How often the path is looked at whatever the operating system tells, in ms. Default 5,000. */
  readonly pollMs?: number
  /** The same while the path, or a directory on the way to it, is missing or cannot be watched. Default 250. */
  readonly searchMs?: number
  /** Called once a burst of events has been quiet for so long, in ms; at the latest after ten times that. Default 50. */
  readonly quietMs?: number
}

/** @throws {PolicyInvalidError | TypeError} naming the option */
export function readPathWatchOptions(given: PathWatchOptions, where: string): PathWatchOptions {
  const options = readOptions(given, ['pollMs', 'searchMs', 'quietMs'], where)
  for (const [name, value] of Object.entries(options) as Array<[string, unknown]>) {
    // Node takes a delay that is none, or longer, for 1 ms.
    if (value !== undefined && !(typeof value === 'number' && value >= 1 && value < 2 ** 31)) throw new PolicyInvalidError(`${where}.${name}`, `must be milliseconds from 1 to ${2 ** 31 - 1}, not ${typeof value === 'number' ? value : describeType(value)}`)
  }
  return options
}

/**
 * Calls back when what is found at a path may have changed: its content, the file, or a symbolic link on the way to it
 * (Kubernetes swaps the `..data` link of a ConfigMap's directory and leaves the file's own link alone). The path need not
 * exist yet, and may vanish and return together with its directories.
 *
 * Events come from the operating system; a look at the file every `pollMs` is the safety net for file systems that send none.
 * It calls back once it watches, and may call back without a change. Timers and watchers do not keep the process alive.
 *
 * @returns ends it; no call follows
 */
export function watchPath(path: string, changed: () => void, options: PathWatchOptions = {}): () => void {
  const watcher = new PathWatcher(resolve(path), changed, options)
  return () => watcher.close()
}

class PathWatcher {
  readonly #path: string
  readonly #changed: () => void
  readonly #pollMs: number
  readonly #searchMs: number
  readonly #quietMs: number
  readonly #directories = new Map<string, WatchedDirectory>()
  #identity: string | undefined
  #timer: NodeJS.Timeout | undefined
  #burst: NodeJS.Timeout | undefined
  #burstEndsAt = 0
  #looking = false
  /** Told while it was looking: it may have looked too early. */
  #lookAgain = false
  #closed = false

  constructor(path: string, changed: () => void, { pollMs = 5_000, searchMs = 250, quietMs = 50 }: PathWatchOptions) {
    this.#path = path
    this.#changed = changed
    this.#pollMs = pollMs
    this.#searchMs = searchMs
    this.#quietMs = quietMs
    void this.#look(false)
  }

  close(): void {
    this.#closed = true
    clearTimeout(this.#timer)
    clearTimeout(this.#burst)
    for (const directory of this.#directories.values()) directory.watcher.close()
    this.#directories.clear()
  }

  /** Never rejects: what cannot be read is a path that is missing for now. */
  async #look(told: boolean): Promise<void> {
    if (this.#looking) {
      this.#lookAgain ||= told
      return
    }
    this.#looking = true
    clearTimeout(this.#timer)
    const way = await resolveWay(this.#path)
    this.#looking = false
    if (this.#closed) return
    const settled = this.#watch(way.directories)
    const news = told || this.#identity !== way.identity
    this.#identity = way.identity
    this.#timer = setTimeout(() => void this.#look(false), settled && way.identity !== missing ? this.#pollMs : this.#searchMs).unref()
    // A path that vanishes is news too: reading it says so.
    if (news) this.#changed()
    if (this.#lookAgain && !this.#closed) {
      this.#lookAgain = false
      void this.#look(true)
    }
  }

  /** @returns whether every directory on the way was watched already: a new watcher may have come a moment too late */
  #watch(wanted: ReadonlyMap<string, WantedDirectory>): boolean {
    for (const [path, directory] of this.#directories) {
      if (wanted.get(path)?.identity === directory.identity) continue
      // A directory made anew under its old name is another one, which the old watcher knows nothing of.
      directory.watcher.close()
      this.#directories.delete(path)
    }
    let settled = wanted.size > 0
    for (const [path, { identity, names }] of wanted) {
      const directory = this.#directories.get(path)
      if (directory) directory.names = names
      else {
        settled = false
        this.#add(path, identity, names)
      }
    }
    return settled
  }

  #add(path: string, identity: string, names: ReadonlySet<string>): void {
    try {
      const watcher = watch(path, { persistent: false })
      const directory: WatchedDirectory = { watcher, identity, names }
      watcher.on('change', (_, name) => {
        if (name === null || directory.names.has(String(name)) || String(name) === parse(path).base) this.#told()
      })
      // The watcher is of no more use then; polling goes on, and the next look tries again.
      watcher.on('error', () => {
        watcher.close()
        if (this.#directories.get(path) === directory) this.#directories.delete(path)
      })
      this.#directories.set(path, directory)
    } catch {
      // Gone since, forbidden, or the system's limit of watchers is reached: polling goes on.
    }
  }

  #told(): void {
    const now = performance.now()
    if (this.#burst === undefined) this.#burstEndsAt = now + 10 * this.#quietMs
    clearTimeout(this.#burst)
    this.#burst = setTimeout(() => {
      this.#burst = undefined
      void this.#look(true)
    }, Math.max(0, Math.min(this.#quietMs, this.#burstEndsAt - now))).unref()
  }
}

interface WantedDirectory {
  readonly identity: string
  /** The entries that the way leads through: links, and the file itself. */
  readonly names: Set<string>
}

interface WatchedDirectory {
  readonly watcher: FSWatcher
  readonly identity: string
  names: ReadonlySet<string>
}

/** What is found at a path, and the directories in which a link or the file itself would be replaced. */
async function resolveWay(path: string): Promise<{ identity: string; directories: Map<string, WantedDirectory> }> {
  const directories = new Map<string, WantedDirectory>()
  const identity = await stat(path, { bigint: true }).then(identityOf, () => missing)
  try {
    const { root } = parse(path)
    let reached = root
    const left = path.slice(root.length).split(sep).filter(Boolean)
    for (let steps = 0; left.length > 0 && steps < maxSteps; steps++) {
      const name = left.shift() as string
      const entry = join(reached, name)
      const found = await lstat(entry).catch(() => undefined)
      if (left.length === 0 || !found || found.isSymbolicLink()) await addDirectory(directories, reached, name)
      if (!found) break
      if (!found.isSymbolicLink()) {
        reached = entry
        continue
      }
      const target = resolve(reached, await readlink(entry))
      reached = parse(target).root
      left.unshift(...target.slice(reached.length).split(sep).filter(Boolean))
    }
  } catch {
    // The way changed under our feet; the next look finds the new one.
  }
  return { identity, directories }
}

const missing = 'missing'

// Linux follows 40 links at most; a loop of links must not hold us.
const maxSteps = 256

async function addDirectory(directories: Map<string, WantedDirectory>, path: string, name: string): Promise<void> {
  const known = directories.get(path)
  if (known) known.names.add(name)
  else directories.set(path, { identity: directoryOf(await stat(path, { bigint: true })), names: new Set([name]) })
}

function identityOf({ dev, ino, size, mtimeNs, ctimeNs }: BigIntStats): string {
  return `${dev}:${ino}:${size}:${mtimeNs}:${ctimeNs}`
}

function directoryOf({ dev, ino, birthtimeNs }: BigIntStats): string {
  return `${dev}:${ino}:${birthtimeNs}`
}
