/** What is shown where the page was opened over plain http from another machine. */
export function drawInsecureNotice(): HTMLElement {
  const notice = document.createElement('main')
  notice.className = 'notice'
  notice.dataset.testid = 'insecure-notice'
  const title = document.createElement('h1')
  title.textContent = 'This page needs a secure address'
  const reason = document.createElement('p')
  reason.textContent =
    'Browsers offer the cryptography that the chat is made of only on https:// pages and on this machine’s own addresses.'
  const remedy = document.createElement('p')
  remedy.textContent = `Open it as http://localhost:${location.port || '80'} on the machine that serves it, or serve it over https://.`
  notice.append(title, reason, remedy)
  return notice
}
