from lab_page import LabPage
def test_thread(run_all, workbook, write_notebook):
    write_notebook(workbook / "my" / "th.ipynb", "from memlab.labs import freelist_lab\nimport threading\nnames=[]\nlab = freelist_lab()\nlab.session.subscribe(lambda: names.append((threading.current_thread().name, threading.get_ident())))\nlab")
    page = run_all("th.ipynb")
    lab = LabPage(page, page.locator(".memlab-lab").last)
    for i in range(4):
        lab.button("Fill").click()
        lab.says("Filled")
        page.wait_for_timeout(1000)
        lab.button("Undo").click()
        lab.says("Undone")
    print("THREADS", lab.in_kernel("names"), lab.in_kernel("(threading.current_thread().name, threading.get_ident(), [t.name for t in threading.enumerate()])"))
