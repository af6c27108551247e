// Installs the development dependencies when the lock file is newer than what is installed, so that
// `npm start` and `npm test` work on a fresh checkout with nothing but Node.
import { execSync } from 'node:child_process'
import { existsSync, statSync, utimesSync } from 'node:fs'

const installed = 'node_modules/.package-lock.json'
const current = existsSync(installed) && statSync(installed).mtimeMs >= statSync('package-lock.json').mtimeMs
if (!current) {
  // On stderr: what is run after this may print a document on stdout.
  console.error('installing the development dependencies, which takes about half a minute …')
  // Not `npm ci`: it demands entries for every platform's optional binaries, and a registry need not have them all.
  execSync('npm install --no-save --no-audit --no-fund --loglevel=error', { stdio: ['ignore', 'ignore', 'inherit'] })
  utimesSync(installed, new Date(), new Date())
}
