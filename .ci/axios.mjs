// Another axios than the installed one for the tests: AXIOS_VERSION=1.2.0 npx jest __tests__/axios
// As a command it installs that version beside the checkout: node .ci/axios.mjs 1.2.0
import { execSync } from 'node:child_process'
import { existsSync, mkdirSync, writeFileSync } from 'node:fs'
import { createRequire } from 'node:module'
import { dirname, join, resolve } from 'node:path'
import { fileURLToPath } from 'node:url'

const root = join(dirname(fileURLToPath(import.meta.url)), '..')

/** The folder of the axios that AXIOS_VERSION names; `undefined` when it names none. */
export function axiosFolder(version = process.env['AXIOS_VERSION']) {
  if (!version) return undefined
  const folder = join(root, '.cache', `axios-${version}`, 'node_modules', 'axios')
  if (!existsSync(folder)) throw new Error(`axios ${version} is not there: node .ci/axios.mjs ${version}`)
  return folder
}

/** What `require('axios')` loads from there. */
export function axiosMain(/** @type {string} */ folder) {
  return createRequire(join(folder, '..', '..', 'package.json')).resolve('axios')
}

if (process.argv[1] && resolve(process.argv[1]) === fileURLToPath(import.meta.url)) {
  for (const version of process.argv.slice(2)) {
    const home = join(root, '.cache', `axios-${version}`)
    if (existsSync(join(home, 'node_modules', 'axios'))) continue
    mkdirSync(home, { recursive: true })
    writeFileSync(join(home, 'package.json'), '{}')
    execSync(`npm install --no-audit --no-fund --loglevel=error axios@${version}`, { cwd: home, stdio: ['ignore', 'ignore', 'inherit'] })
  }
}
