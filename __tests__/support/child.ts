import { spawn } from 'node:child_process'
import { existsSync } from 'node:fs'
import { join } from 'node:path'
import { pathToFileURL } from 'node:url'

/** Runs scripts in a process of their own: for what would end, poison or switch the whole of this one. */

export interface Ended {
  readonly code: number | null
  readonly signal: NodeJS.Signals | null
  readonly stdout: string
  readonly stderr: string
  /** What the script handed to `report()`, if it did. */
  readonly reported: any
}

export interface ChildOptions {
  /** Found in the script as `input`. Must survive JSON. */
  input?: unknown
  env?: NodeJS.ProcessEnv
  nodeOptions?: string[]
  timeoutMs?: number
}

const rootFolder = join(__dirname, '..', '..')

/**
 * Runs an ES module's text with the same Node as this one. It finds `input`, `report(value)`, `load(path)` (of the
 * built package: an entry, e.g. `index.js`, as it is published, or else the file by itself) and `require`.
 */
export async function runChild(script: string, { input, env = {}, nodeOptions = [], timeoutMs = 25_000 }: ChildOptions = {}): Promise<Ended> {
  const dist = join(rootFolder, 'dist', 'esm', 'index.js')
  if (!existsSync(dist)) throw new Error('the package has to be built first: npm run build')
  const prelude = `
    import { createRequire } from 'node:module'
    const require = createRequire(${JSON.stringify(pathToFileURL(join(rootFolder, 'package.json')).href)})
    const input = JSON.parse(process.env.CHILD_INPUT)
    const load = (path) => import(${JSON.stringify(pathToFileURL(join(rootFolder, 'dist')).href)} + (path.endsWith('index.js') ? '/esm/' : '/modules/esm/') + path)
    const report = (value) => process.stdout.write('\\u0001' + JSON.stringify(value) + '\\n')
  `
  const child = spawn(process.execPath, [...nodeOptions, '--input-type=module', '-e', `${prelude}\n${script}`], {
    cwd: rootFolder,
    env: { ...process.env, NODE_OPTIONS: '', NODE_NO_WARNINGS: '1', ...env, CHILD_INPUT: JSON.stringify(input ?? null) },
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: timeoutMs,
    killSignal: 'SIGKILL',
  })
  let stdout = ''
  let stderr = ''
  child.stdout.setEncoding('utf8').on('data', (chunk: string) => { stdout += chunk })
  child.stderr.setEncoding('utf8').on('data', (chunk: string) => { stderr += chunk })
  return await new Promise((resolve, reject) => {
    child.on('error', reject)
    child.on('close', (code, signal) => {
      const [, reported] = /\u0001(.*)\n/.exec(stdout) ?? []
      resolve({ code, signal, stdout, stderr, reported: reported === undefined ? undefined : JSON.parse(reported) })
    })
  })
}
