import { readVariable } from '../policy/environment.js'
import { isOpensslStoreDefault } from '../verify/anchors.js'

/** One thing in the process that could weaken pinning, or whoever relies on it. JSON-safe; no secret is in it. */
export interface IntegrityFinding {
  /** What `integrityAllow` takes: `NODE_EXTRA_CA_CERTS`, `--require dd-trace/init`, `tls.connect`, … */
  readonly name: string
  /** What it does, for people. */
  readonly detail: string
}

/** A finding, and what else it may be allowed by: the names of packages. */
export interface Found extends IntegrityFinding {
  readonly packages: readonly string[]
}

/** What the process was started with that matters to pinning. Read once: Node reads its switches at its start only. */
export function findSwitches(env: NodeJS.ProcessEnv, execArgv: readonly string[]): Found[] {
  const switches = [...readSwitches(execArgv), ...readSwitches(splitNodeOptions(readVariable('NODE_OPTIONS', env) ?? ''))]
  return [...findVariables(env, switches), ...switches.flatMap(findSwitch)]
}

/** Node reads this one for each connection, and from `Object.prototype` too. */
export function findUnverified(env: NodeJS.ProcessEnv): Found | undefined {
  if (env['NODE_TLS_REJECT_UNAUTHORIZED'] !== '0') return undefined
  return { name: 'NODE_TLS_REJECT_UNAUTHORIZED', detail: 'it is 0: connections that are not pinned accept any certificate; pinned ones are verified all the same', packages: [] }
}

/** The package that a file or a specifier belongs to; `undefined` for a file outside of `node_modules`. */
export function packageOf(specifier: string): string | undefined {
  const path = specifier.replaceAll('\\', '/')
  const [, inner] = /.*\/node_modules\/((?:@[^/]+\/)?[^/]+)/.exec(path) ?? []
  if (inner !== undefined) return inner
  return /^(?:\.|\/|[a-z]+:|[A-Z]:)/.test(path) ? undefined : /^(?:@[^/]+\/)?[^/]+/.exec(path)?.[0]
}

interface Switch {
  /** As in Node's documentation: `--require` for `-r`, dashes for underscores. */
  readonly name: string
  readonly value: string | undefined
}

function findVariables(env: NodeJS.ProcessEnv, switches: readonly Switch[]): Found[] {
  const storeReader = findStoreReader(env, switches)
  const details: Record<string, string> = {
    NODE_EXTRA_CA_CERTS: 'its certificates are trusted besides those of Node; hosts that are not pinned, or pinned by a CA of it, rest on them',
    ...(storeReader !== undefined && { SSL_CERT_FILE: `${storeReader}, the trust anchors are those of this file`, SSL_CERT_DIR: `${storeReader}, the trust anchors are those of this folder` }),
    SSLKEYLOGFILE: 'other programs write the keys of their TLS connections to it; Node does only with --tls-keylog',
    OPENSSL_CONF: 'OpenSSL is configured by this file, which can lower what ciphers and groups it takes'
  }
  const found = Object.entries(details).flatMap(([name, detail]) => (readVariable(name, env) ? [{ name, detail, packages: [] }] : []))
  // Node 22.19 and 24.6 on.
  if (readVariable('NODE_USE_SYSTEM_CA', env) === '1') found.push({ name: 'NODE_USE_SYSTEM_CA', detail: systemDetail, packages: [] })
  return found
}

/** What makes Node read OpenSSL's variables; without it other programs may, which is no concern here. */
function findStoreReader(env: NodeJS.ProcessEnv, switches: readonly Switch[]): string | undefined {
  const last = switches.filter(({ name }) => ['--use-openssl-ca', '--use-bundled-ca'].includes(name)).at(-1)?.name
  if (last === '--use-openssl-ca') return 'with --use-openssl-ca'
  if (last === undefined && isOpensslStoreDefault()) return 'as this Node was built'
  // Windows and macOS have a store of their own.
  if (['win32', 'darwin'].includes(process.platform)) return undefined
  if (switches.some(({ name }) => name === '--use-system-ca')) return 'with --use-system-ca'
  return readVariable('NODE_USE_SYSTEM_CA', env) === '1' ? 'with NODE_USE_SYSTEM_CA' : undefined
}

const systemDetail = 'the certificates of the operating system are trusted, those that an administrator has added too'

function findSwitch({ name, value }: Switch): Found[] {
  if (preloads.has(name)) {
    const specifier = value ?? ''
    const owner = packageOf(specifier)
    return [{ name: `${name} ${specifier}`, detail: 'it runs before the program, and can replace whatever pinning relies on', packages: owner === undefined ? [] : [owner] }]
  }
  const detail = switchDetails[name]
  if (detail === undefined) return []
  return [{ name: name.startsWith('--inspect') ? 'inspector' : name, detail, packages: [] }]
}

const preloads: ReadonlySet<string> = new Set(['--require', '--import', '--loader'])

const inspectorDetail = 'whoever reaches its port reads and changes everything in the process'

const switchDetails: Record<string, string | undefined> = {
  __proto__: null as unknown as string,
  '--use-system-ca': systemDetail,
  '--use-openssl-ca': 'the trust anchors are those of OpenSSL on this machine, not the ones bundled with Node',
  '--tls-keylog': 'the keys of every TLS connection are written to a file, with which its traffic can be read',
  '--trace-tls': 'what passes over TLS connections is traced to the standard error output',
  '--tls-min-v1.0': 'connections that are not pinned accept TLS 1.0; pinned ones need TLS 1.2',
  '--tls-min-v1.1': 'connections that are not pinned accept TLS 1.1; pinned ones need TLS 1.2',
  '--tls-max-v1.2': 'TLS 1.3 is off, and with it post-quantum key exchange',
  '--tls-cipher-list': 'the default ciphers are other ones than those of Node',
  '--openssl-config': 'OpenSSL is configured by a file, which can lower what ciphers and groups it takes',
  '--openssl-shared-config': 'OpenSSL is configured by the file that all programs of this machine share, which can lower what ciphers and groups it takes',
  '--openssl-legacy-provider': 'broken algorithms of OpenSSL are available again',
  '--security-revert': 'a security fix of Node is switched off',
  '--experimental-config-file': 'a file sets further switches of Node, which are not seen here',
  '--experimental-default-config-file': 'a file sets further switches of Node, which are not seen here',
  '--inspect': inspectorDetail,
  '--inspect-brk': inspectorDetail,
  '--inspect-wait': inspectorDetail
}

/** Those whose value may be the next argument. */
const withValue: ReadonlySet<string> = new Set([...preloads, '--tls-keylog', '--tls-cipher-list', '--openssl-config', '--security-revert', '--experimental-config-file'])

const aliases: Record<string, string | undefined> = { __proto__: null as unknown as string, '-r': '--require', '--experimental-loader': '--loader' }

function readSwitches(args: readonly string[]): Switch[] {
  const switches: Switch[] = []
  for (let i = 0; i < args.length; i++) {
    const [, given, value] = /^(-[^=]*)(?:=(.*))?$/s.exec(args[i] as string) ?? []
    if (given === undefined) continue
    // Node takes underscores for dashes.
    const dashed = given.replaceAll('_', '-')
    const name = aliases[dashed] ?? dashed
    switches.push({ name, value: value ?? (withValue.has(name) ? args[++i] : undefined) })
  }
  return switches
}

/** Node splits it at spaces; double quotes keep a part together, and a backslash in them the next character. */
function splitNodeOptions(text: string): string[] {
  const parts = text.match(/(?:[^\s"]|"(?:\\.|[^"\\])*(?:"|$))+/gs) ?? []
  return parts.map((part) => part.replace(/"((?:\\.|[^"\\])*)(?:"|$)/gs, (_, inner: string) => inner.replace(/\\(.)/gs, '$1')))
}
